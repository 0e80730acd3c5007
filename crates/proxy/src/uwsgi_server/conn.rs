//! The one exchange of a connection: a packet, its body, the answer as HTTP, the end.
//!
//! Without a Content-Length the end of the answer is the end of the connection. Where such an answer is cut, TCP says so by a
//! reset; a Unix socket has no way to, as with uWSGI.

use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use http::Method;
use onebox_uwsgi::PacketHeader;
use tokio::time::timeout_at;

use super::packet::{self, NoPacket, Packet, PacketRefusal};
use super::{Door, PacketRequest};
use crate::error::ProxyError;
use crate::http1::{
    Asked, BodyPatience, Fields, Framing, Incoming, Sender, Socket, close_carefully, prepare,
};
use crate::lifecycle::Lifecycle;
use crate::message::{ConnectionInfo, Onward, Version};
use crate::request_body::RequestBody;

/// What most packets fit into, in bytes.
const READ_BYTES: usize = 4 << 10;
/// The answer to a ping: "pong" is `modifier2` 1, as uWSGI 2.0 answers it too.
const PONG: PacketHeader =
    PacketHeader { modifier1: PacketHeader::PING, datasize: 0, modifier2: 1 };

/// How a connection ends.
enum Ending {
    /// What was said is read by the other side first.
    Careful,
    /// The other side learns that the answer is not complete.
    Reset,
    /// Nobody waits for anything.
    Plain,
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    mut socket: Socket,
    connection: ConnectionInfo,
    door: Arc<Door>,
    lifecycle: Arc<Lifecycle>,
) {
    let site = door.site.as_str();
    if !door.lets_in(&connection) {
        let peer = connection.peer.map(|peer| peer.ip().to_canonical());
        tracing::warn!(site, ?peer, "uwsgi connection refused: not in socket-allow");
        return;
    }
    let mut patience = pin!(tokio::time::sleep(door.service.limits().header_timeout));
    tokio::select! {
        biased;
        readable = socket.readable() => if readable.is_err() { return },
        () = patience.as_mut() => return,
        () = lifecycle.close_idle() => return,
    }
    let visit = Visit { connection: &connection, door: &door, lifecycle: &lifecycle };
    match Box::pin(visit.exchange(&mut socket)).await {
        Ending::Careful => tokio::select! {
            () = Box::pin(close_carefully(&mut socket)) => {}
            () = lifecycle.cut() => {}
        },
        Ending::Reset => socket.reset_on_close(),
        Ending::Plain => {}
    }
}

struct Visit<'c> {
    connection: &'c ConnectionInfo,
    door: &'c Door,
    lifecycle: &'c Lifecycle,
}

impl Visit<'_> {
    async fn exchange(&self, socket: &mut Socket) -> Ending {
        let busy = self.lifecycle.begin();
        let received_at = Instant::now();
        let limits = self.door.service.limits();
        let mut buf = BytesMut::with_capacity(READ_BYTES);
        let (mut reader, writer) = socket.split();
        let deadline = tokio::time::Instant::from_std(received_at) + limits.header_timeout;
        let sender =
            Sender { writer: &writer, lifecycle: self.lifecycle, patience: limits.send_timeout };
        let packet = tokio::select! {
            biased;
            packet = timeout_at(deadline, packet::read(&mut reader, &mut buf)) => packet,
            () = self.lifecycle.cut() => return Ending::Reset,
        };
        let packet: Packet = match packet {
            Ok(Ok(packet)) => packet,
            Ok(Err(NoPacket::Nothing)) => return Ending::Plain,
            Ok(Err(NoPacket::Ping)) => {
                let pong = PONG.encode();
                let mut parts = [IoSlice::new(&pong)];
                // Who asked and left does not want to know.
                writer.write_all(&mut parts, limits.send_timeout, &mut 0).await.ok();
                return Ending::Careful;
            }
            Ok(Err(NoPacket::Refused(refusal))) => {
                return self.refuse(&sender, &refusal.into()).await;
            }
            Err(_) => return self.refuse(&sender, &PacketRefusal::TooSlow.into()).await,
        };
        let request = match PacketRequest::new(packet, self.connection, received_at) {
            Ok(request) => request,
            Err(error) => return self.refuse(&sender, &error).await,
        };
        let size = request.head.content_length.unwrap_or(0);
        let fields =
            Fields { framing: Framing::Length(size), keep_alive: false, expects_continue: false };
        let patience = BodyPatience { read: limits.body_timeout, write: limits.send_timeout };
        let incoming = Incoming::new(reader, &writer, &mut buf, fields, patience);
        let mut body = RequestBody::from(incoming);
        let answered = tokio::select! {
            biased;
            answered = self.door.service.handle_packet(&self.door.site, &request, &mut body) => answered,
            () = writer.reset_by_client() => return Ending::Plain,
            () = self.lifecycle.cut() => return Ending::Reset,
        };
        // As to HTTP/1.0: web servers don't look for chunks in an answer over uwsgi.
        let asked = Asked {
            head_only: request.head.method == Method::HEAD,
            version: Version::Http10,
            keep_alive: false,
        };
        // From here on it is a transfer.
        drop(busy);
        let (mut response, exchange) = answered;
        let onward = response.onward.take();
        let answer = prepare(response, asked, Vec::new());
        let (sent, _) = match onward {
            Some(Onward::Body(upload)) => sender.send_beside(answer, upload.go_on(&mut body)).await,
            // Upgrades are not allowed here.
            Some(Onward::Tunnel(_)) | None => sender.send(answer).await,
        };
        exchange.sent(sent);
        if sent.complete { Ending::Careful } else { Ending::Reset }
    }

    /// Says why what came is no request; also to a peer that speaks HTTP here by mistake.
    async fn refuse(&self, sender: &Sender<'_>, error: &ProxyError) -> Ending {
        tracing::warn!(site = self.door.site, %error, "uwsgi request refused");
        let (response, exchange) = self.door.service.refuse_packet(error, self.connection);
        let (sent, _) = sender.send(prepare(response, Asked::NOTHING, Vec::new())).await;
        exchange.sent(sent);
        if sent.complete { Ending::Careful } else { Ending::Reset }
    }
}

#[cfg(test)]
mod tests;
