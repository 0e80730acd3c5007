//! What the tests stand on: an appliance to itself, a folder to deploy, an HTTP client that keeps connections, a client that never stops asking.

mod appliance;
mod command;
mod fifo;
mod http;
mod nginx;
mod packages;
mod pebble;
mod peer;
mod poller;
mod processes;
mod raw;
mod relay;
mod site;
mod tls;
mod tmpfs;

pub(crate) use appliance::TestBox;
pub(crate) use command::{DEADLINE, Finished, onebox, run};
pub(crate) use fifo::Fifo;
pub(crate) use http::{Answer, Connection, begin_stream, get};
pub(crate) use nginx::{Nginx, free_address};
pub(crate) use packages::{client_meets, client_works, environment_of, made_once};
pub(crate) use pebble::Pebble;
pub(crate) use peer::{Peer, php_fpm, uwsgi_can_be_built};
pub(crate) use poller::Poller;
pub(crate) use processes::{descendants, wait_until_gone, zombies};
pub(crate) use raw::{Address, Said, packet, rest_of};
pub(crate) use relay::{Doorman, Relay};
pub(crate) use site::SiteFolder;
pub(crate) use tls::{Https, Pem, Session};
pub(crate) use tmpfs::Tmpfs;
