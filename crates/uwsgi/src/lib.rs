//! The one language between proxy and application: the uwsgi packet, and the channel that carries it.
//!
//! Owns the packet codec ([`PacketHeader`], [`Vars`]), the head of an answer ([`ResponseHead`]), the frames of our own
//! worker sockets ([`frame`]), the C boundary of the runtime library ([`abi`]) and, with the feature `transport`, the in-memory channel ([`channel`]) and the socket
//! client ([`socket`]). Must not know HTTP parsing, Python, or configuration.
//!
//! Source: the uwsgi protocol, <https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html>.

pub mod abi;
mod error;
mod file_part;
pub mod frame;
mod head;
mod packet;
mod vars;

#[cfg(feature = "transport")]
mod buffer;
#[cfg(feature = "transport")]
mod channel;
#[cfg(feature = "transport")]
pub mod socket;

pub use error::{DecodeError, EncodeError};
pub use file_part::{FilePart, FileRange, may_be_handed_over};
pub use head::ResponseHead;
pub use packet::PacketHeader;
pub use vars::{Vars, VarsBuilder, key};

#[cfg(feature = "transport")]
pub use buffer::BufferLimits;
#[cfg(feature = "transport")]
pub use channel::{
    AbortReason, Backlog, Body, Coming, Connector, DispatchError, Empty, Gone, Job, Piece, Pushed,
    Request, ResponseFrame, ResponseSink, ResponseStream, Withdrawal, channel,
};
