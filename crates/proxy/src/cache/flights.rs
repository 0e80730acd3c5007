//! Requests for one answer: one of them gets it, the others wait for what becomes of it (RFC 9111 §4: collapsing).
//!
//! Who leads holds a [`Lead`]; dropped without a word (its client has left) it wakes the others, and the first of them leads.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// What became of the request that others wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// Its answer is stored.
    Stored,
    /// Its answer is nobody else's; whoever waits asks on its own.
    OnlyForOne,
    /// There is no answer: this status, and when to try again.
    Failed { status: u16, retry_after_s: Option<u32> },
    /// It was given up.
    Left,
}

type Told = watch::Sender<Option<Landing>>;

/// The requests of a site that others may wait for.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    open: Mutex<HashMap<Box<[u8]>, Told>>,
}

/// What a request does.
pub(crate) enum Role {
    /// It asks, for itself and for those that come until it has an answer.
    Leads(Lead),
    /// It waits.
    Follows(Follower),
}

impl Flights {
    /// The role of a request.
    pub(crate) fn join(self: &Arc<Self>, name: Box<[u8]>) -> Role {
        match self.open.lock().entry(name) {
            Entry::Occupied(open) => Role::Follows(Follower(open.get().subscribe())),
            Entry::Vacant(place) => {
                let name = place.key().clone();
                place.insert(watch::Sender::new(None));
                Role::Leads(Lead { flights: Arc::clone(self), name: Some(name) })
            }
        }
    }

    /// How many requests wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.open.lock().values().map(Told::receiver_count).sum()
    }
}

/// Others may wait for this request.
#[derive(Debug)]
pub(crate) struct Lead {
    flights: Arc<Flights>,
    /// `None`: it has landed.
    name: Option<Box<[u8]>>,
}

impl Lead {
    /// Tells the others.
    pub(crate) fn land(mut self, landing: Landing) {
        self.end(landing);
    }

    fn end(&mut self, landing: Landing) {
        let Some(name) = self.name.take() else { return };
        // Off the list first: who is woken must not find it there.
        let told = self.flights.open.lock().remove(&name);
        if let Some(told) = told {
            told.send_replace(Some(landing));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.end(Landing::Left);
    }
}

/// A request that waits for another one.
pub(crate) struct Follower(watch::Receiver<Option<Landing>>);

impl Follower {
    /// What became of it.
    pub(crate) async fn landing(mut self) -> Landing {
        match self.0.wait_for(Option::is_some).await {
            Ok(landing) => landing.unwrap_or(Landing::Left),
            Err(_) => Landing::Left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(flights: &Arc<Flights>) -> Lead {
        match flights.join(b"a"[..].into()) {
            Role::Leads(lead) => lead,
            Role::Follows(_) => panic!("somebody else leads"),
        }
    }

    fn follow(flights: &Arc<Flights>) -> Follower {
        match flights.join(b"a"[..].into()) {
            Role::Leads(_) => panic!("nobody leads"),
            Role::Follows(follower) => follower,
        }
    }

    #[tokio::test]
    async fn who_waits_hears_what_became_of_the_first() {
        let flights = Arc::<Flights>::default();
        let first = lead(&flights);
        let (early, late) = (follow(&flights), follow(&flights));
        let waiting = tokio::spawn(early.landing());
        let failed = Landing::Failed { status: 502, retry_after_s: None };
        first.land(failed);
        assert_eq!((waiting.await.unwrap(), late.landing().await), (failed, failed));
        lead(&flights).land(Landing::Stored);
        assert!(flights.open.lock().is_empty());
    }

    #[tokio::test]
    async fn when_the_first_leaves_the_next_one_leads() {
        let flights = Arc::<Flights>::default();
        let first = lead(&flights);
        let waiting = follow(&flights);
        drop(first);
        assert_eq!(waiting.landing().await, Landing::Left);
        lead(&flights);
    }

    #[tokio::test]
    async fn other_names_do_not_wait() {
        let flights = Arc::<Flights>::default();
        let _first = lead(&flights);
        assert!(matches!(flights.join(b"b"[..].into()), Role::Leads(_)));
    }
}
