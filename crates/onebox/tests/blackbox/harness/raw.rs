//! Bytes over a connection of their own, and everything that is said to them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::command::DEADLINE;

/// Where a connection goes.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What was said until the end.
#[derive(Debug)]
pub(crate) struct Said {
    /// Every byte.
    pub(crate) bytes: Vec<u8>,
    /// Whether the connection was reset.
    pub(crate) reset: bool,
}

/// An open connection.
pub(crate) trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Address {
    /// Opens a connection on which nothing takes longer than a test may.
    pub(crate) fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_write_timeout(Some(DEADLINE)).unwrap();
                Box::new(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_write_timeout(Some(DEADLINE)).unwrap();
                Box::new(stream)
            }
        }
    }

    /// Sends `message` and reads to the end of the connection.
    pub(crate) fn ask(&self, message: &[u8]) -> Said {
        let mut stream = self.connect();
        // Who answers early may close before it has read everything.
        stream.write_all(message).ok();
        rest_of(&mut *stream)
    }
}

/// Reads to the end of a connection.
pub(crate) fn rest_of(stream: &mut dyn Stream) -> Said {
    let mut bytes = Vec::new();
    let outcome = stream.read_to_end(&mut bytes);
    let kind = outcome.err().map(|error| error.kind());
    let reset = kind == Some(std::io::ErrorKind::ConnectionReset);
    assert!(kind.is_none() || reset, "{kind:?} after {}", bytes.escape_ascii());
    Said { bytes, reset }
}

/// A uwsgi packet.
pub(crate) fn packet(modifier1: u8, vars: &[(&str, &[u8])]) -> Vec<u8> {
    let size = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut block = Vec::new();
    for (name, value) in vars {
        let name = name.as_bytes();
        block.extend([&size(name), name, &size(value), *value].concat());
    }
    let [low, high] = size(&block);
    [&[modifier1, low, high, 0], &block[..]].concat()
}
