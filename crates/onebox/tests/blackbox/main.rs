//! The black-box suite: the real binary, real Pythons, real sockets. A file for each theme; one test binary, so that the suite links once.
//!
//! Every appliance has a temporary state directory and ports of its own, readiness is an event and never a sleep, and what a
//! test started it ends by process id.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that meets the unexpected ends there"
)]

mod harness;

mod access;
mod acme;
mod address_rules;
mod autopsy;
mod background;
mod behind_nginx;
mod cache_tests;
mod caching;
mod cli;
mod clients;
mod configuring;
mod conformance;
mod crashes;
mod dashboard;
mod deadlines;
mod dev;
mod django;
mod draining;
mod encodings;
mod engine;
mod examples;
mod failures;
mod frameworks;
mod held_off;
mod http2;
mod isolation;
mod killed;
mod lifecycle;
mod limiting;
mod limits;
mod load;
mod logging;
mod metrics;
mod nasty;
mod openapi;
mod paths;
mod persistence;
mod places;
mod properties;
mod pythons;
mod reloading;
mod route_settings;
mod routing;
mod run;
mod sendfile;
mod shrinking;
mod signals;
mod static_files;
mod switching;
mod tls;
mod top;
mod trust;
mod under_systemd;
mod unprivileged;
mod upgrading;
mod uploads;
mod upstreams;
mod webdav;
mod websockets;
mod workers;
