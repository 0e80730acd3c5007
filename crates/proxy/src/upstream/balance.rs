//! Which server of an upstream gets a request.
//!
//! Source: nginx's smooth weighted round robin and `least_conn`; weighted rendezvous hashing (Thaler and Ravishankar), with
//! which a server that comes or goes moves its own share of the keys and no other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use onebox_config::site::Balance;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::server::{Peer, Standing};
use crate::message::{ConnectionInfo, RequestHead};

/// Chooses among the servers of one upstream.
pub(super) struct Chooser {
    balance: Balance,
    /// How much each server is owed, in thousandths of a weight; no lock is held while anything is awaited.
    owed: Mutex<Vec<i64>>,
}

impl Chooser {
    pub(super) fn new(balance: Balance, servers: usize) -> Self {
        Self { balance, owed: Mutex::new(vec![0; servers]) }
    }

    /// What of a request decides; `None`: nothing, or the request has no such thing.
    pub(super) fn key(&self, head: &RequestHead, connection: &ConnectionInfo) -> Option<u64> {
        match &self.balance {
            Balance::RoundRobin | Balance::LeastConn => None,
            Balance::Client => connection.peer.map(|peer| hash(&peer.ip().to_canonical())),
            Balance::Header(name) => head.header(name).map(|value| hash(&value)),
            Balance::Cookie(name) => head.cookie(name).map(|value| hash(&value)),
        }
    }

    /// The server for a request with this key, not one of those that were `tried`; `None` where nobody can be asked.
    ///
    /// Backups are asked where no other server is up, and those that failed a moment ago where no backup is: an attempt is
    /// better than the certainty of an error page.
    pub(super) fn choose(
        &self,
        peers: &[Arc<Peer>],
        tried: &[usize],
        key: Option<u64>,
    ) -> Option<usize> {
        let now = Instant::now();
        let standings: Vec<Standing> = peers.iter().map(|peer| peer.standing(now)).collect();
        let candidates = |wanted: Standing, backup: bool| -> Vec<usize> {
            let all = peers.iter().zip(&standings).enumerate();
            let fitting = all.filter(|(index, (peer, standing))| {
                **standing == wanted && peer.server.backup == backup && !tried.contains(index)
            });
            fitting.map(|(index, _)| index).collect()
        };
        [
            (Standing::Up, false),
            (Standing::Up, true),
            (Standing::Down, false),
            (Standing::Down, true),
        ]
        .into_iter()
        .map(|(standing, backup)| candidates(standing, backup))
        .find(|found| !found.is_empty())
        .and_then(|found| self.among(peers, &found, key, now))
    }

    fn among(
        &self,
        peers: &[Arc<Peer>],
        candidates: &[usize],
        key: Option<u64>,
        now: Instant,
    ) -> Option<usize> {
        let weighted =
            |index: &usize| peers.get(*index).map(|peer| (*index, peer, peer.weight(now)));
        if let Some(key) = key {
            let score = |index: usize, weight: u64| rendezvous(key, index, weight);
            return candidates
                .iter()
                .filter_map(weighted)
                .max_by(|(a, _, a_weight), (b, _, b_weight)| {
                    score(*a, *a_weight).total_cmp(&score(*b, *b_weight))
                })
                .map(|(index, ..)| index);
        }
        let mut candidates: Vec<_> = candidates.iter().filter_map(weighted).collect();
        if self.balance == Balance::LeastConn {
            // Cross-multiplied: a server of weight 2 with four requests is as busy as one of weight 1 with two.
            let load = |busy: u32, other: u64| u128::from(busy) * u128::from(other);
            let least =
                candidates.iter().copied().min_by(|(_, a, a_weight), (_, b, b_weight)| {
                    load(a.busy(), *b_weight).cmp(&load(b.busy(), *a_weight))
                })?;
            let (_, least, least_weight) = (least.0, Arc::clone(least.1), least.2);
            candidates.retain(|(_, peer, weight)| {
                load(peer.busy(), least_weight) == load(least.busy(), *weight)
            });
        }
        self.next_owed(&candidates)
    }

    /// Each is owed its weight; who is owed most is chosen and pays for all.
    fn next_owed(&self, candidates: &[(usize, &Arc<Peer>, u64)]) -> Option<usize> {
        let mut owed = self.owed.lock();
        let mut total = 0;
        for (index, _, weight) in candidates {
            let weight = i64::try_from(*weight).unwrap_or(i64::MAX);
            total += weight;
            if let Some(owed) = owed.get_mut(*index) {
                *owed = owed.saturating_add(weight);
            }
        }
        let most = candidates.iter().rev().map(|(index, ..)| *index);
        let chosen = most.max_by_key(|index| owed.get(*index).copied())?;
        if let Some(owed) = owed.get_mut(chosen) {
            *owed -= total;
        }
        Some(chosen)
    }
}

/// The same in every engine: without a random key.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The server with the largest score has the key.
#[allow(clippy::cast_precision_loss, reason = "a score needs no more digits than it keeps")]
fn rendezvous(key: u64, server: usize, weight: u64) -> f64 {
    let uniform = (hash(&(key, server)) >> 11) as f64 / (1_u64 << 53) as f64;
    -(weight as f64) / uniform.max(f64::MIN_POSITIVE).ln()
}

#[cfg(test)]
mod tests {
    use onebox_config::site::{Server, Upstream};

    use super::*;
    use crate::testing;

    fn peers(servers: &[(u16, bool)]) -> Vec<Arc<Peer>> {
        let peer = |(index, (weight, backup)): (usize, &(u16, bool))| {
            let server = testing::server(&format!("http://a:{}", index + 1));
            Peer::new(Server { weight: *weight, backup: *backup, ..server }, &Upstream::default())
        };
        servers.iter().enumerate().map(peer).collect()
    }

    fn chosen(balance: Balance, peers: &[Arc<Peer>], times: usize) -> Vec<usize> {
        let chooser = Chooser::new(balance, peers.len());
        (0..times).map(|_| chooser.choose(peers, &[], None).unwrap()).collect()
    }

    #[tokio::test]
    async fn round_robin_is_smooth_by_weight() {
        let peers = peers(&[(5, false), (1, false), (1, false)]);
        assert_eq!(chosen(Balance::RoundRobin, &peers, 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[tokio::test]
    async fn the_least_busy_for_its_weight_is_chosen() {
        let peers = peers(&[(1, false), (2, false)]);
        let _leases = [peers[0].lease(), peers[1].lease()];
        assert_eq!(chosen(Balance::LeastConn, &peers, 2), [1, 1]);
    }

    #[tokio::test]
    async fn backups_come_after_the_others_and_the_failed_after_them() {
        let peers = peers(&[(1, false), (1, false), (1, true)]);
        assert!(!chosen(Balance::RoundRobin, &peers, 4).contains(&2));
        let chooser = Chooser::new(Balance::RoundRobin, 3);
        for peer in &peers[..2] {
            peer.failed(&std::fmt::Error);
        }
        assert_eq!(chooser.choose(&peers, &[], None), Some(2));
        assert_eq!(chooser.choose(&peers, &[2], None), Some(0));
        assert_eq!(chooser.choose(&peers, &[0, 1, 2], None), None);
    }

    #[tokio::test]
    async fn a_key_stays_with_its_server_when_another_goes() {
        let peers = peers(&[(1, false), (1, false), (2, false)]);
        let chooser = Chooser::new(Balance::Client, 3);
        let before: Vec<_> = (0..4000).map(|key| chooser.choose(&peers, &[], Some(key))).collect();
        let share = before.iter().filter(|chosen| **chosen == Some(2)).count();
        assert!((1800..2200).contains(&share), "{share}");
        peers[0].set_out(Some("no answer".to_owned()));
        for (key, old) in before.iter().enumerate() {
            let new = chooser.choose(&peers, &[], Some(key as u64));
            assert!(*old == Some(0) || new == *old);
        }
    }
}
