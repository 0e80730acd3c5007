//! Room for connections, and what becomes of clients where there is none.
//!
//! In this order, which `config/box.toml` promises: of one client only so many are let in. Where all places are taken, whoever has
//! waited longest for its client leaves ([`Lifecycle::in_the_way`]), and until then new connections wait in the kernel's queue.
//! Where nobody could leave for [`PATIENCE`], a few at a time are let in all the same, and told to come later. What is under way
//! is served to its end, and the first place that is free ends all of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use onebox_config::Limits;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::clients;
use crate::lifecycle::Lifecycle;

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
    /// How many connections each client has.
    crowds: Mutex<HashMap<u128, usize>>,
}

/// Where a connection is let in.
#[derive(Debug)]
pub(crate) enum Place {
    /// Among those that are served.
    Served(OwnedSemaphorePermit),
    /// Among those that are told to come later.
    TurnedAway(OwnedSemaphorePermit),
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
            crowds: Mutex::default(),
        })
    }

    /// A place for a connection that has been accepted; who was told last time that there is none does not wait for one.
    pub(crate) async fn place(&self, lifecycle: &Lifecycle, patience: Duration) -> Place {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Place::Served(place);
        }
        // The semaphores are never closed.
        let acquire = |places: &Arc<Semaphore>| {
            let acquiring = Arc::clone(places).acquire_owned();
            async move {
                match acquiring.await {
                    Ok(permit) => permit,
                    Err(_) => std::future::pending().await,
                }
            }
        };
        let place = lifecycle.make_way(acquire(&self.places));
        if let Ok(place) = timeout(patience, place).await {
            return Place::Served(place);
        }
        tokio::select! {
            biased;
            place = acquire(&self.places) => Place::Served(place),
            place = acquire(&self.beside) => Place::TurnedAway(place),
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
        let first = room.place(&lifecycle, PATIENCE).await;
        assert!(matches!(first, Place::Served(_)));
        let mut others = Vec::new();
        for _ in 0..TURNED_AWAY {
            others.push(room.place(&lifecycle, PATIENCE - begun.elapsed()).await);
            assert_eq!(begun.elapsed(), PATIENCE);
        }
        assert!(others.iter().all(|place| matches!(place, Place::TurnedAway(_))));
        let none = timeout(PATIENCE, room.place(&lifecycle, Duration::ZERO)).await;
        assert!(none.is_err());
        drop(first);
        assert!(matches!(room.place(&lifecycle, Duration::ZERO).await, Place::Served(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_longest_leaves_first_and_nobody_when_there_is_room() {
        let (room, lifecycle) = (room(2, 2), Arc::new(Lifecycle::default()));
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let (place, lifecycle) =
                (room.place(&lifecycle, PATIENCE).await, Arc::clone(&lifecycle));
            waiting.push(tokio::spawn(async move {
                lifecycle.in_the_way().await;
                drop(place);
            }));
            tokio::time::sleep(PATIENCE).await;
        }
        let third = room.place(&lifecycle, PATIENCE).await;
        assert!(matches!(third, Place::Served(_)));
        assert!(waiting[0].is_finished() && !waiting[1].is_finished());
        drop(third);
        assert!(matches!(room.place(&lifecycle, PATIENCE).await, Place::Served(_)));
        tokio::time::sleep(PATIENCE).await;
        assert!(!waiting[1].is_finished(), "it leaves though there is room");
    }
}
