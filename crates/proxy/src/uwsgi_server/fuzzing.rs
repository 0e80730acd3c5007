//! The door for the fuzzer: a packet as far as the application's variables.

use std::time::Instant;

use bytes::BytesMut;
use onebox_uwsgi::Vars;

use super::packet::{self, Taken};
use super::request::PacketRequest;
use crate::message::{ConnectionInfo, Entrance};
use crate::request_id::RequestId;

/// Takes a packet from the front of `bytes`: its size, and what an application would see of it; `None` where it is refused
/// or not complete.
pub fn take_uwsgi_request(bytes: &[u8], buffer_size: usize) -> Option<(usize, Vars)> {
    let mut buf = BytesMut::from(bytes);
    let Ok(Taken::Packet(packet)) = packet::take(&mut buf) else { return None };
    let connection = ConnectionInfo::at(Entrance::Public);
    let request = PacketRequest::new(packet, &connection, Instant::now()).ok()?;
    let body_bytes = request.head.content_length.unwrap_or(0);
    let vars =
        request.vars((&request.path, None), body_bytes, RequestId::random(), buffer_size).ok()?;
    Some((bytes.len() - buf.len(), vars))
}
