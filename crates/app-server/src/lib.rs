//! Finding Pythons, embedding one into this process, and running others as workers.
//!
//! Owns the search for interpreters ([`Interpreter`]), the runtime library that the binary carries ([`RuntimeLibrary`]),
//! the embedded interpreter ([`embed`]) and the command of an isolated worker ([`worker_command`]). Must not know HTTP,
//! sites' releases or how processes are supervised: requests come from a `Backlog`, or to the worker's own socket.

mod child;
mod embed;
mod error;
mod find;
mod inspect;
mod interpreter;
mod libpython;
mod library;
mod notice;
mod spec;
mod worker;

pub use child::{spawn_error, unblock_signals};
pub use embed::{Embedded, Listener, embed};
pub use error::{LibraryError, PythonError, StartError};
pub use find::search_path;
pub use interpreter::Interpreter;
pub use library::RuntimeLibrary;
pub use notice::{After, Frame, GilStalls, Notice, Raised, ToldRequest, Usage};
pub use spec::{AppSpec, Application, Deadlines};
pub use worker::{WorkerReport, worker_command};
