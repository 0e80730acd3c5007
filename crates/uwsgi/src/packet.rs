//! The four bytes in front of every vars block.

/// `modifier1` (u8), `datasize` (u16, little endian), `modifier2` (u8): the header of a uwsgi packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHeader {
    /// What the packet asks for: 0 is a WSGI request.
    pub modifier1: u8,
    /// The size of the vars block that follows, in bytes.
    pub datasize: u16,
    /// A parameter of `modifier1`; 0 for a request.
    pub modifier2: u8,
}

impl PacketHeader {
    /// The size of the header, in bytes.
    pub const LEN: usize = 4;
    /// `modifier1` of a WSGI request.
    pub const WSGI: u8 = 0;
    /// `modifier1` of a WSGI request whose SCRIPT_NAME is still part of PATH_INFO.
    pub const WSGI_STRIP_SCRIPT_NAME: u8 = 30;
    /// `modifier1` of a ping, answered with the same header and `modifier2` 1.
    pub const PING: u8 = 100;

    /// The header of a WSGI request with a vars block of `datasize` bytes.
    pub const fn request(datasize: u16) -> Self {
        Self { modifier1: Self::WSGI, datasize, modifier2: 0 }
    }

    /// The header as it stands on the wire.
    pub const fn encode(self) -> [u8; Self::LEN] {
        let [low, high] = self.datasize.to_le_bytes();
        [self.modifier1, low, high, self.modifier2]
    }

    /// The header that stands in `bytes`; every four bytes are one.
    pub const fn decode(bytes: [u8; Self::LEN]) -> Self {
        let [modifier1, low, high, modifier2] = bytes;
        Self { modifier1, datasize: u16::from_le_bytes([low, high]), modifier2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_little_endian() {
        assert_eq!(PacketHeader::request(0x1234).encode(), [0, 0x34, 0x12, 0]);
    }

    #[test]
    fn every_header_survives_a_round_trip() {
        let header = PacketHeader { modifier1: 30, datasize: 65_535, modifier2: 7 };
        assert_eq!(PacketHeader::decode(header.encode()), header);
    }
}
