//! Any bytes as a uwsgi packet, a vars block, the head of an answer or a frame: decoded or refused, and what is decoded is
//! encoded to the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onebox_uwsgi::frame::{FrameHeader, HEADER_BYTES};
use onebox_uwsgi::{PacketHeader, ResponseHead, Vars};

fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = bytes.first_chunk::<{ PacketHeader::LEN }>() {
        assert_eq!(PacketHeader::decode(*header).encode(), *header);
    }
    if let Ok(vars) = Vars::decode(bytes.to_vec()) {
        let read: usize = vars.iter().map(|(key, value)| 4 + key.len() + value.len()).sum();
        assert_eq!(read, bytes.len());
    }
    if let Ok(head) = ResponseHead::decode(bytes) {
        assert_eq!(head.encode().as_deref(), Ok(bytes));
    }
    if let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
        if let Ok(frame) = FrameHeader::decode(*header) {
            assert_eq!(frame.encode(), *header);
        }
    }
});
