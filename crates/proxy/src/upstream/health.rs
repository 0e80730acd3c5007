//! Active checks: each server is asked again and again, and gets requests as long as its answers are good.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use onebox_config::site::{ActiveCheck, Upstream};
use tokio::time::{sleep, timeout};

use super::attempt::{Attempt, NoAnswer};
use super::passed::{Dashboard, Passed, Upgrades};
use super::server::Peer;
use super::upload::{Source, Whole};
use crate::message::{ConnectionInfo, Entrance, RequestHead, Version};
use crate::request_body::RequestBody;
use crate::request_id::RequestId;

/// Room for the vars of a check.
const BUFFER_BYTES: usize = 65_535;

/// Asks `peer` until the group ends. A server is well until checks say otherwise.
pub(super) async fn watch(peer: Arc<Peer>, settings: Upstream, host: String) {
    let Some(check) = settings.active.clone() else { return };
    let mut verdict = Verdict { is_out: false, in_a_row: 0 };
    loop {
        let problem = match timeout(check.timeout, ask(&peer, &settings, &check, &host)).await {
            Ok(problem) => problem,
            Err(_) => Some(format!("no answer within {:?}", check.timeout)),
        };
        if verdict.changes(problem.is_none(), &check) {
            peer.set_out(problem.clone());
            let server = peer.name.as_str();
            match problem {
                Some(error) => tracing::warn!(server, error, "a server of an upstream is not well"),
                None => tracing::info!(server, "a server of an upstream is well again"),
            }
        }
        sleep(check.interval).await;
    }
}

/// What the last answers mean.
struct Verdict {
    is_out: bool,
    /// Answers in a row that speak against it.
    in_a_row: u16,
}

impl Verdict {
    /// Takes in an answer; whether the verdict is another one now.
    fn changes(&mut self, is_good: bool, check: &ActiveCheck) -> bool {
        if is_good != self.is_out {
            self.in_a_row = 0;
            return false;
        }
        self.in_a_row += 1;
        let needed = if self.is_out { check.passes } else { check.fails };
        if self.in_a_row < needed {
            return false;
        }
        (self.is_out, self.in_a_row) = (!self.is_out, 0);
        true
    }
}

/// Asks once, over a connection of its own or an idle one; what is wrong with the answer.
async fn ask(
    peer: &Arc<Peer>,
    settings: &Upstream,
    check: &ActiveCheck,
    host: &str,
) -> Option<String> {
    let head = request(&check.path, host);
    let connection = ConnectionInfo::at(Entrance::Probe);
    let passed = Passed {
        head: &head,
        path: &head.path,
        connection: &connection,
        request_id: RequestId::random(),
        buffer_size: BUFFER_BYTES,
        upgrades: Upgrades::Refused,
        dashboard: Dashboard::Elsewhere,
    };
    let source = Source::Whole(Whole::Memory(Bytes::new()));
    let attempt = Attempt { settings, passed: &passed, source };
    match attempt.ask(peer.lease(), &mut RequestBody::nothing()).await {
        Ok(talk) => {
            let status = talk.head.status;
            let is_good = match check.status.as_slice() {
                [] => (200..400).contains(&status),
                wanted => wanted.contains(&status),
            };
            (!is_good).then(|| format!("GET {} answered {status}", check.path))
        }
        Err(NoAnswer::Server(failure)) => Some(failure.error.to_string()),
        Err(NoAnswer::Other(error)) => Some(error.to_string()),
    }
}

fn request(target: &str, host: &str) -> RequestHead {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let field = |name: &'static [u8], value: &str| {
        (Bytes::from_static(name), Bytes::copy_from_slice(value.as_bytes()))
    };
    RequestHead {
        method: http::Method::GET,
        target: Bytes::copy_from_slice(target.as_bytes()),
        path: Bytes::copy_from_slice(path.as_bytes()),
        query: query.map(|query| Bytes::copy_from_slice(query.as_bytes())),
        version: Version::Http11,
        headers: vec![
            field(b"host", host),
            field(b"user-agent", "onebox-health-check"),
            field(b"accept", "*/*"),
        ],
        host: Some(host.to_owned()),
        port: None,
        content_length: Some(0),
        received_at: Instant::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_some_answers_in_a_row_to_change_the_verdict() {
        let check = ActiveCheck { passes: 2, fails: 3, ..ActiveCheck::default() };
        let mut verdict = Verdict { is_out: false, in_a_row: 0 };
        let answers =
            [true, false, false, true, false, false, false, false, true, false, true, true];
        let out: Vec<bool> = answers
            .iter()
            .map(|is_good| {
                verdict.changes(*is_good, &check);
                verdict.is_out
            })
            .collect();
        let expected =
            [false, false, false, false, false, false, true, true, true, true, true, false];
        assert_eq!(out, expected);
    }
}
