//! Room for connections, and what becomes of clients where there is none.
//!
//! In this order, which `config/box.toml` promises: of one client only so many are let in. Where all places are taken, or too much
//! memory, whoever has waited longest for its client leaves ([`Lifecycle::in_the_way`]), and until then new connections wait in
//! the kernel's queue. Where nobody could leave for [`PATIENCE`], a few at a time are let in all the same, and told to come later.
//! What is under way is served to its end, and the first place that is free, with the memory for it, ends all of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use onebox_config::Limits;
use onebox_metrics::Dropped;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::clients;
use crate::lifecycle::Lifecycle;
use crate::memory::{self, Memory};

/// How long new connections wait for a place before they are told that there is none.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How many are told so at a time.
const TURNED_AWAY: usize = 16;

/// The places of one proxy.
#[derive(Debug)]
pub(crate) struct Room {
    places: Arc<Semaphore>,
    beside: Arc<Semaphore>,
    most_of_one: usize,
    /// `None`: it has no budget.
    memory: Option<Memory>,
    /// How many connections each client has.
    crowds: Mutex<HashMap<u128, usize>>,
}

/// Where a connection is let in.
#[derive(Debug)]
pub(crate) enum Place {
    /// Among those that are served.
    Served(OwnedSemaphorePermit),
    /// Among those that are told to come later, for this reason.
    TurnedAway(OwnedSemaphorePermit, Dropped),
}

/// A connection that counts as its client's as long as this lives.
#[derive(Debug)]
pub(crate) struct OneOf {
    room: Arc<Room>,
    client: u128,
}

impl Room {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let places = limits.max_connections.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places)),
            beside: Arc::new(Semaphore::new(TURNED_AWAY)),
            most_of_one: limits.connections_of_one_client(),
            memory: limits.max_memory_bytes.map(Memory::of_this_process),
            crowds: Mutex::default(),
        })
    }

    /// A place for a connection that has been accepted; who was told last time that there is none does not wait for one.
    /// `let_go` gives up what can be made again, where memory is short.
    pub(crate) async fn place(
        &self,
        lifecycle: &Lifecycle,
        patience: Duration,
        let_go: impl Fn(),
    ) -> Place {
        let is_short = || self.memory.as_ref().is_some_and(|memory| memory.is_over(&let_go));
        if !is_short()
            && let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
        {
            return Place::Served(place);
        }
        let with_way_made = async {
            while is_short() {
                lifecycle.make_way(sleep(memory::TRUST)).await;
            }
            lifecycle.make_way(acquire(&self.places)).await
        };
        if let Ok(place) = timeout(patience, with_way_made).await {
            return Place::Served(place);
        }
        let why = if is_short() { Dropped::NoMemory } else { Dropped::NoRoom };
        let found = async {
            while is_short() {
                sleep(memory::TRUST).await;
            }
            acquire(&self.places).await
        };
        tokio::select! {
            biased;
            place = found => Place::Served(place),
            place = acquire(&self.beside) => Place::TurnedAway(place, why),
        }
    }

    /// Lets in one more connection of a client; `None`: it has as many as it may have.
    pub(crate) fn one_of(self: &Arc<Self>, client: std::net::IpAddr) -> Option<OneOf> {
        let client = clients::network(client);
        let mut crowds = self.crowds.lock();
        let count = crowds.entry(client).or_default();
        if *count >= self.most_of_one {
            return None;
        }
        *count += 1;
        Some(OneOf { room: Arc::clone(self), client })
    }
}

async fn acquire(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(places).acquire_owned().await {
        Ok(permit) => permit,
        // They are never closed.
        Err(_) => std::future::pending().await,
    }
}

impl Drop for OneOf {
    fn drop(&mut self) {
        if let Entry::Occupied(mut crowd) = self.room.crowds.lock().entry(self.client) {
            *crowd.get_mut() -= 1;
            if *crowd.get() == 0 {
                crowd.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn room(max_connections: usize, of_one: usize) -> Arc<Room> {
        let max_connections_per_client = Some(of_one);
        Room::new(&Limits { max_connections, max_connections_per_client, ..Limits::default() })
    }

    async fn place(room: &Room, lifecycle: &Lifecycle, patience: Duration) -> Place {
        room.place(lifecycle, patience, || ()).await
    }

    #[test]
    fn one_client_has_only_so_many_and_of_ipv6_it_is_one_network() {
        let room = room(100, 2);
        let of = |client: &str| room.one_of(client.parse::<IpAddr>().unwrap());
        for [first, second, third, other] in [
            ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"],
            ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::", "2001:db8:0:2::1"],
        ] {
            let (one, two) = (of(first), of(second));
            assert!(one.is_some() && two.is_some() && of(third).is_none());
            assert!(of(other).is_some());
            drop(one);
            assert!(of(third).is_some());
        }
        assert!(room.crowds.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_and_is_turned_away_until_there_is_one() {
        let (room, lifecycle) = (room(1, 1), Lifecycle::default());
        let begun = tokio::time::Instant::now();
        let first = place(&room, &lifecycle, PATIENCE).await;
        assert!(matches!(first, Place::Served(_)));
        let mut others = Vec::new();
        for _ in 0..TURNED_AWAY {
            others.push(place(&room, &lifecycle, PATIENCE - begun.elapsed()).await);
            assert_eq!(begun.elapsed(), PATIENCE);
        }
        assert!(others.iter().all(|place| matches!(place, Place::TurnedAway(_, Dropped::NoRoom))));
        let none = timeout(PATIENCE, place(&room, &lifecycle, Duration::ZERO)).await;
        assert!(none.is_err());
        drop(first);
        assert!(matches!(place(&room, &lifecycle, Duration::ZERO).await, Place::Served(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn where_memory_is_short_everybody_is_turned_away_after_a_while_and_much_is_let_go() {
        let limits = Limits { max_memory_bytes: Some(1), ..Limits::default() };
        let (room, lifecycle) = (Room::new(&limits), Lifecycle::default());
        let (begun, let_go) = (tokio::time::Instant::now(), std::cell::Cell::new(0));
        let place = room.place(&lifecycle, PATIENCE, || let_go.set(let_go.get() + 1)).await;
        assert!(matches!(place, Place::TurnedAway(_, Dropped::NoMemory)));
        assert!(begun.elapsed() >= PATIENCE && let_go.get() > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_longest_leaves_first_and_nobody_when_there_is_room() {
        let (room, lifecycle) = (room(2, 2), Arc::new(Lifecycle::default()));
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let (place, lifecycle) =
                (place(&room, &lifecycle, PATIENCE).await, Arc::clone(&lifecycle));
            waiting.push(tokio::spawn(async move {
                lifecycle.in_the_way().await;
                drop(place);
            }));
            sleep(PATIENCE).await;
        }
        let third = place(&room, &lifecycle, PATIENCE).await;
        assert!(matches!(third, Place::Served(_)));
        assert!(waiting[0].is_finished() && !waiting[1].is_finished());
        drop(third);
        assert!(matches!(place(&room, &lifecycle, PATIENCE).await, Place::Served(_)));
        sleep(PATIENCE).await;
        assert!(!waiting[1].is_finished(), "it leaves though there is room");
    }
}
