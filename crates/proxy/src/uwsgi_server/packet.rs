//! One packet, read from a connection: its header and its variables. The body stays where it is.

use std::io;

use bytes::{Buf, BytesMut};
use onebox_uwsgi::{DecodeError, PacketHeader, Vars};

use crate::http1::Reader;

/// A packet that is a request.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) vars: Vars,
    /// Whether SCRIPT_NAME is still part of PATH_INFO (`modifier1` 30).
    pub(super) script_name_in_path: bool,
}

/// What came instead of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPacket {
    /// Nothing at all; web servers open connections to see whether somebody is there.
    #[error("the connection was closed before a packet")]
    Nothing,
    /// A question whether somebody is there.
    #[error("a ping")]
    Ping,
    /// It ends in the middle.
    #[error("the packet ends in the middle")]
    Truncated,
    /// Its header asks for something else; HTTP looks like this.
    #[error("modifier1 {modifier1} is not served here: 0, 30 (WSGI) and 100 (ping) are{}", guess(*modifier1))]
    Modifier {
        /// What it asks for.
        modifier1: u8,
    },
    /// Its variables are not encoded right.
    #[error("the variables are malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Lost(#[from] io::Error),
}

/// `G`, `P` and `H` begin an HTTP request.
fn guess(modifier1: u8) -> &'static str {
    if modifier1.is_ascii_uppercase() {
        "; does the web server speak HTTP to this socket?"
    } else {
        ""
    }
}

/// Reads a packet; what came behind it is left in `buf`. It holds 65,539 bytes at most.
///
/// # Errors
/// [`NoPacket`] with what came instead.
pub(super) async fn read(reader: &mut Reader<'_>, buf: &mut BytesMut) -> Result<Packet, NoPacket> {
    fill(reader, buf, PacketHeader::LEN).await?;
    let header = match buf.first_chunk::<{ PacketHeader::LEN }>() {
        Some(bytes) => PacketHeader::decode(*bytes),
        None => return Err(NoPacket::Truncated),
    };
    buf.advance(PacketHeader::LEN);
    let script_name_in_path = match header.modifier1 {
        PacketHeader::WSGI => false,
        PacketHeader::WSGI_STRIP_SCRIPT_NAME => true,
        PacketHeader::PING => return Err(NoPacket::Ping),
        modifier1 => return Err(NoPacket::Modifier { modifier1 }),
    };
    let size = usize::from(header.datasize);
    match fill(reader, buf, size).await {
        Err(NoPacket::Nothing) => return Err(NoPacket::Truncated),
        other => other?,
    }
    let vars = Vars::decode(buf.split_to(size).to_vec())?;
    Ok(Packet { vars, script_name_in_path })
}

/// Reads until `size` bytes are there.
async fn fill(reader: &mut Reader<'_>, buf: &mut BytesMut, size: usize) -> Result<(), NoPacket> {
    while buf.len() < size {
        buf.reserve(size - buf.len());
        if reader.read(buf).await? == 0 {
            return Err(if buf.is_empty() { NoPacket::Nothing } else { NoPacket::Truncated });
        }
    }
    Ok(())
}
