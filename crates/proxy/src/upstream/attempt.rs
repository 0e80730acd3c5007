//! One request to one server: connect, send, and read the head of the answer.

use std::time::Duration;

use onebox_config::site::{Protocol, Upstream};
use tokio::io::split;
use tokio::time::{Instant, timeout_at};

use super::answer_head::{AnswerHead, Form, HeadReader};
use super::dial::{Connection, dial};
use super::failure::{Failure, Reached, UpstreamError};
use super::fastcgi::Records;
use super::passed::{Manner, Passed, Upgrades};
use super::server::{Lease, Peer};
use super::upload::{Interrupted, Source, Upload};
use super::wire::Wire;
use crate::clients;
use crate::error::ProxyError;
use crate::message::{Interim, Version};
use crate::request_body::RequestBody;

/// The most interim answers (1xx) in front of the answer.
const MAX_INTERIM: usize = 16;

/// A request, and where its body comes from.
pub(super) struct Attempt<'a> {
    pub(super) settings: &'a Upstream,
    pub(super) passed: &'a Passed<'a>,
    pub(super) source: Source,
}

/// A server that has begun to answer.
pub(super) struct Talk {
    pub(super) head: AnswerHead,
    pub(super) wire: Wire,
    pub(super) upload: Upload,
    pub(super) lease: Lease,
    /// When it got the request.
    pub(super) asked_at: std::time::Instant,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// The server's doing: another one may be asked.
    Server(Failure),
    /// The client's, or ours.
    Other(ProxyError),
}

impl From<ProxyError> for NoAnswer {
    fn from(error: ProxyError) -> Self {
        Self::Other(error)
    }
}

impl Attempt<'_> {
    /// Asks the server of `lease`.
    pub(super) async fn ask(
        &self,
        lease: Lease,
        client: &mut RequestBody<'_>,
    ) -> Result<Talk, NoAnswer> {
        let peer = &lease.peer;
        let manner =
            Manner { server: &peer.server, settings: self.settings, keep_alive: peer.keeps() };
        let encoded = self.passed.encode(&manner, self.source.size()).await?;
        let (connection, was_idle) = self.connection(peer).await?;
        let asked_at = std::time::Instant::now();
        let (reader, writer) = split(connection);
        let patience = self.settings.send_timeout;
        let mut upload = Upload::new(writer, encoded, self.source.clone(), patience);
        let (mut wire, form) = match peer.server.protocol {
            Protocol::FastCgi => (Wire::in_records(reader, Records::default()), Form::Cgi),
            _ => (Wire::plain(reader), Form::Http),
        };
        let head = self.send_and_listen(&mut upload, &mut wire, form, client).await;
        let head = head.and_then(|head| self.checked(head)).map_err(|error| match error {
            NoAnswer::Server(mut failure) => {
                if was_idle && wire.is_untouched && !failure.error.is_timeout() {
                    failure.reached = Reached::IdleConnection;
                }
                NoAnswer::Server(failure)
            }
            other => other,
        })?;
        Ok(Talk { head, wire, upload, lease, asked_at })
    }

    async fn connection(&self, peer: &Peer) -> Result<(Connection, bool), NoAnswer> {
        if let Some(connection) = peer.take_idle() {
            return Ok((connection, true));
        }
        let connection = self.passed.connection;
        let introduction = self.settings.proxy_protocol.map_or_else(Vec::new, |version| {
            clients::introduce(version, connection.peer, connection.local)
        });
        let patience = self.settings.connect_timeout;
        match dial(&peer.server, &peer.trust, &introduction, patience).await {
            Ok(connection) => Ok((connection, false)),
            Err(error) => Err(NoAnswer::Server(Failure { error, reached: Reached::Nothing })),
        }
    }

    /// A server may answer before it has all of a request, and may close without taking the rest.
    async fn send_and_listen(
        &self,
        upload: &mut Upload,
        wire: &mut Wire,
        form: Form,
        client: &mut RequestBody<'_>,
    ) -> Result<AnswerHead, NoAnswer> {
        let mut listening = Listening { wire, form, reader: HeadReader::default(), interim: 0 };
        let patience = self.settings.read_timeout;
        let (mut sent, mut deadline) = (None, None);
        loop {
            let heard = tokio::select! {
                biased;
                heard = listening.head_before(deadline, patience) => heard,
                outcome = upload.run(client), if sent.is_none() => {
                    match outcome {
                        Err(Interrupted::ByUs(error)) => return Err(NoAnswer::Other(error)),
                        Err(Interrupted::ByServer(error)) => sent = Some(Err(error)),
                        Ok(()) => sent = Some(Ok(())),
                    }
                    deadline = Some(Instant::now() + patience);
                    continue;
                }
            };
            match heard {
                Ok(head) if head.status < 200 && head.status != 101 => {
                    self.pass_on_interim(&head, client).await?;
                }
                Ok(head) => return Ok(head),
                // What broke the request off says more than the silence after it.
                Err(error) => match sent {
                    Some(Err(earlier)) => return Err(reached_server(earlier)),
                    _ => return Err(reached_server(error)),
                },
            }
        }
    }

    /// RFC 9110 §15.2: an interim answer goes to the client, unless that speaks HTTP/1.0 or it is the 100 that is ours to say.
    async fn pass_on_interim(
        &self,
        head: &AnswerHead,
        client: &mut RequestBody<'_>,
    ) -> Result<(), NoAnswer> {
        let is_understood = self.passed.head.version != Version::Http10
            && self.passed.upgrades == Upgrades::Allowed;
        if head.status == 100 || !is_understood {
            return Ok(());
        }
        let interim =
            Interim { status: head.status, reason: head.reason.as_deref(), headers: &head.headers };
        client.say_in_between(&interim).await.map_err(|error| NoAnswer::Other(error.into()))
    }

    /// Nothing but what was asked for may become of the connection.
    fn checked(&self, head: AnswerHead) -> Result<AnswerHead, NoAnswer> {
        let is_wanted = self.passed.wanted_upgrade().is_some() && head.upgrade.is_some();
        if head.status == 101 && !is_wanted {
            let error = UpstreamError::Malformed("it switches protocols, and nobody asked for it");
            return Err(reached_server(error));
        }
        Ok(head)
    }
}

fn reached_server(error: UpstreamError) -> NoAnswer {
    NoAnswer::Server(Failure { error, reached: Reached::Server })
}

/// Waiting for a head. Can be left and entered again.
struct Listening<'w> {
    wire: &'w mut Wire,
    form: Form,
    reader: HeadReader,
    interim: usize,
}

impl Listening<'_> {
    /// The next head, an interim one too.
    async fn head(&mut self) -> Result<AnswerHead, UpstreamError> {
        loop {
            if let Some(head) = self.reader.take(&mut self.wire.content, self.form)? {
                self.interim += usize::from(head.status < 200);
                if self.interim > MAX_INTERIM {
                    return Err(UpstreamError::Malformed("it has too many interim answers"));
                }
                return Ok(head);
            }
            if !self.wire.more().await? {
                return Err(UpstreamError::Ended("before an answer"));
            }
        }
    }

    /// The limit is for the whole head: one that comes a byte at a time is none.
    async fn head_before(
        &mut self,
        deadline: Option<Instant>,
        patience: Duration,
    ) -> Result<AnswerHead, UpstreamError> {
        let Some(deadline) = deadline else { return self.head().await };
        match timeout_at(deadline, self.head()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(UpstreamError::ReadTimedOut(patience)),
        }
    }
}
