//! What happens, as those hear it who watch: numbered, and the last of it kept for who comes back after a moment.
//!
//! Who is too slow loses some and slows nobody; it is told so.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::api::Sample;

/// Events that a slow watcher may be behind before it loses some.
const BEHIND: usize = 64;
/// Events that are kept for those who come back: about a minute.
const KEPT: usize = 64;

/// What the dashboard is told as it happens.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A second is over.
    Sample(Arc<Sample>),
    /// A site, or the engine, changed.
    Changed,
}

/// The place of an event in a feed, as `1792000000000-17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    /// When the feed began: numbers of another one mean nothing here.
    feed: i64,
    number: u64,
}

/// An event in its place.
#[derive(Debug, Clone)]
pub(crate) struct Numbered {
    pub(crate) id: EventId,
    pub(crate) event: Event,
}

/// What came since an event.
#[derive(Debug)]
pub(crate) enum Missed {
    /// All of it.
    Events(Vec<Numbered>),
    /// More than is kept, or nobody knows.
    TooMuch,
}

/// What happens.
#[derive(Debug)]
pub(crate) struct Feed {
    begun_ms: i64,
    last: Mutex<Last>,
    live: broadcast::Sender<Numbered>,
}

#[derive(Debug, Default)]
struct Last {
    /// Of the last event; 0 before the first.
    number: u64,
    events: VecDeque<Numbered>,
}

impl Feed {
    /// A feed that begins now.
    pub(crate) fn new(begun_ms: i64) -> Self {
        Self { begun_ms, last: Mutex::default(), live: broadcast::channel(BEHIND).0 }
    }

    /// Tells everybody who watches.
    pub(crate) fn send(&self, event: Event) {
        let mut last = self.last.lock();
        last.number += 1;
        let told = Numbered { id: EventId { feed: self.begun_ms, number: last.number }, event };
        if last.events.len() == KEPT {
            last.events.pop_front();
        }
        last.events.push_back(told.clone());
        // Without a dashboard nobody listens, which is no error.
        self.live.send(told).ok();
    }

    /// What comes from now on, and what came since the event that was heard last: between the two nothing is lost.
    pub(crate) fn watch(&self, heard: Option<EventId>) -> (Missed, broadcast::Receiver<Numbered>) {
        let last = self.last.lock();
        let missed = match heard {
            None => Missed::Events(Vec::new()),
            Some(heard) => self.since(heard, &last),
        };
        (missed, self.live.subscribe())
    }

    fn since(&self, heard: EventId, last: &Last) -> Missed {
        let oldest = last.number.saturating_sub(last.events.len() as u64);
        if heard.feed != self.begun_ms || !(oldest..=last.number).contains(&heard.number) {
            return Missed::TooMuch;
        }
        let events = last.events.iter().filter(|told| told.id.number > heard.number);
        Missed::Events(events.cloned().collect())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.feed, self.number)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (feed, number) = text.split_once('-').ok_or(())?;
        Ok(Self { feed: feed.parse().map_err(drop)?, number: number.parse().map_err(drop)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(missed: Missed) -> Option<Vec<u64>> {
        match missed {
            Missed::Events(events) => Some(events.iter().map(|told| told.id.number).collect()),
            Missed::TooMuch => None,
        }
    }

    fn since(feed: &Feed, id: &str) -> Option<Vec<u64>> {
        numbers(feed.watch(Some(id.parse().unwrap())).0)
    }

    #[test]
    fn who_comes_back_hears_what_it_missed_and_then_what_comes() {
        let feed = Feed::new(5);
        (0..3).for_each(|_| feed.send(Event::Changed));
        let (missed, mut live) = feed.watch("5-1".parse().ok());
        assert_eq!(numbers(missed), Some(vec![2, 3]));
        feed.send(Event::Changed);
        assert_eq!(live.try_recv().unwrap().id.to_string(), "5-4");
        assert_eq!(numbers(feed.watch(None).0), Some(vec![]), "who is new hears what comes");
        assert_eq!(since(&feed, "5-4"), Some(vec![]));
    }

    #[test]
    fn what_is_too_long_ago_or_of_another_feed_is_told_as_that() {
        let feed = Feed::new(5);
        (0..=KEPT).for_each(|_| feed.send(Event::Changed));
        assert_eq!(since(&feed, "5-0"), None, "one is gone");
        assert_eq!(since(&feed, "5-1").map(|events| events.len()), Some(KEPT));
        for wrong in ["4-60", "5-66", "5-18446744073709551615"] {
            assert_eq!(since(&feed, wrong), None, "{wrong}");
        }
        for no_id in ["", "5", "5-", "-1", "5-x", "x-1"] {
            assert!(no_id.parse::<EventId>().is_err(), "{no_id}");
        }
    }
}
