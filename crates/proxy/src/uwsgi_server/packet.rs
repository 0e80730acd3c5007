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
#[derive(Debug)]
pub(super) enum NoPacket {
    /// Nothing at all, or the connection failed; web servers open connections to see whether somebody is there.
    Nothing,
    /// A question whether somebody is there.
    Ping,
    /// Something that is answered with the reason.
    Refused(PacketRefusal),
}

/// Why a packet is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PacketRefusal {
    /// It ends in the middle.
    #[error("the packet ends in the middle")]
    Truncated,
    /// It did not come within `header-timeout`.
    #[error("the packet came too slowly")]
    TooSlow,
    /// Its header asks for something else; HTTP looks like this.
    #[error("modifier1 {modifier1} is not served here: 0, 30 (WSGI) and 100 (ping) are{}", guess(*modifier1))]
    Modifier {
        /// What it asks for.
        modifier1: u8,
    },
    /// Its variables are not encoded right.
    #[error("the variables of the packet are malformed: {0}")]
    Malformed(#[from] DecodeError),
}

/// `G`, `P` and `H` begin an HTTP request.
fn guess(modifier1: u8) -> &'static str {
    if modifier1.is_ascii_uppercase() { "; a request over HTTP begins like this" } else { "" }
}

/// What stands in front of some bytes.
#[derive(Debug)]
pub(super) enum Taken {
    Packet(Packet),
    /// At least so many bytes are missing.
    NeedMore(usize),
}

/// Takes a packet from the front of `buf` once it is whole. It has 65,539 bytes at most. Pure: no socket.
///
/// # Errors
/// [`NoPacket`] where something else stands there.
pub(super) fn take(buf: &mut BytesMut) -> Result<Taken, NoPacket> {
    let Some(bytes) = buf.first_chunk::<{ PacketHeader::LEN }>() else {
        return Ok(Taken::NeedMore(PacketHeader::LEN - buf.len()));
    };
    let header = PacketHeader::decode(*bytes);
    let script_name_in_path = match header.modifier1 {
        PacketHeader::WSGI => false,
        PacketHeader::WSGI_STRIP_SCRIPT_NAME => true,
        PacketHeader::PING => return Err(NoPacket::Ping),
        modifier1 => return Err(NoPacket::Refused(PacketRefusal::Modifier { modifier1 })),
    };
    let size = PacketHeader::LEN + usize::from(header.datasize);
    if let Some(missing @ 1..) = size.checked_sub(buf.len()) {
        return Ok(Taken::NeedMore(missing));
    }
    let mut packet = buf.split_to(size);
    packet.advance(PacketHeader::LEN);
    let vars = Vars::decode(packet.to_vec())
        .map_err(|error| NoPacket::Refused(PacketRefusal::Malformed(error)))?;
    Ok(Taken::Packet(Packet { vars, script_name_in_path }))
}

/// Reads a packet; what came behind it is left in `buf`.
///
/// # Errors
/// [`NoPacket`] with what came instead.
pub(super) async fn read(reader: &mut Reader<'_>, buf: &mut BytesMut) -> Result<Packet, NoPacket> {
    loop {
        match take(buf)? {
            Taken::Packet(packet) => return Ok(packet),
            Taken::NeedMore(missing) => buf.reserve(missing),
        }
        let read: io::Result<usize> = reader.read(buf).await;
        match read {
            Ok(1..) => {}
            Ok(0) if !buf.is_empty() => return Err(NoPacket::Refused(PacketRefusal::Truncated)),
            Ok(0) => return Err(NoPacket::Nothing),
            Err(error) => {
                tracing::debug!(%error, "a uwsgi connection failed");
                return Err(NoPacket::Nothing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of bytes that come in these steps, and what is left of them.
    fn verdict(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> (String, Vec<u8>) {
        let (mut buf, mut start) = (BytesMut::new(), 0);
        for end in ends {
            buf.extend_from_slice(&bytes[start..end]);
            start = end;
            match take(&mut buf) {
                Ok(Taken::NeedMore(missing)) => assert!(missing > 0),
                Ok(Taken::Packet(packet)) => {
                    let rest = [&buf[..], &bytes[end..]].concat();
                    return (format!("{packet:?}"), rest);
                }
                Err(error) => return (format!("{error:?}"), Vec::new()),
            }
        }
        ("incomplete".to_owned(), Vec::new())
    }

    #[test]
    fn a_packet_is_taken_when_it_is_whole_and_its_body_left() {
        let packet = b"\x00\x06\x00\x00\x01\0A\x01\0bbody";
        for size in 0..10 {
            assert_eq!(verdict(packet, [size]).0, "incomplete", "{size} bytes");
        }
        assert_eq!(verdict(packet, [packet.len()]).1, b"body");
    }

    #[test]
    fn the_largest_packet_there_is_is_read() {
        let mut packet = vec![0, 0xff, 0xff, 0, 1, 0, b'A', 0xfa, 0xff];
        packet.resize(65_539, b'x');
        let mut buf = BytesMut::from(&packet[..]);
        let Ok(Taken::Packet(packet)) = take(&mut buf) else { panic!("it is whole") };
        assert_eq!(packet.vars.get(b"A").map(<[u8]>::len), Some(65_530));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_the_same_in_pieces(
            modifier1 in prop::sample::select(&[0, 0, 0, 30, 100, 71][..]),
            datasize in 0..40u8,
            block in prop::collection::vec(prop::sample::select(&b"\0\0\x01\x02\x05AB"[..]), 0..48),
            at in any::<prop::sample::Index>(),
        ) {
            let bytes = [&[modifier1, datasize, 0, 0][..], &block].concat();
            let at = at.index(bytes.len() + 1);
            prop_assert_eq!(verdict(&bytes, [at, bytes.len()]), verdict(&bytes, [bytes.len()]));
        }
    }
}
