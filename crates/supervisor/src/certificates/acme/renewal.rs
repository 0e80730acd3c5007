//! When a certificate is renewed: when its authority says so (ARI, RFC 9773), else at two thirds of its life.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::CertificateIdentifier;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::super::pair::{Facts, Pair};

/// Within which an authority wants a certificate to be renewed, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

/// A certificate as its authority knows it (RFC 9773 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Predecessor {
    authority: String,
    serial: String,
}

impl Predecessor {
    /// `None`: it does not name its authority's key.
    pub(super) fn of(pair: &Pair) -> Option<Self> {
        let authority = URL_SAFE_NO_PAD.encode(pair.facts.authority_key.as_deref()?);
        Some(Self { authority, serial: URL_SAFE_NO_PAD.encode(&pair.facts.serial) })
    }

    pub(super) fn identifier(&self) -> CertificateIdentifier<'_> {
        CertificateIdentifier {
            authority_key_identifier: Cow::Borrowed(&self.authority),
            serial: Cow::Borrowed(&self.serial),
        }
    }
}

/// What an authority says about the renewal of a certificate.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Advice {
    window: Option<Window>,
    /// The moment within it that was drawn.
    drawn_ms: i64,
    /// When it is to be asked again.
    again_ms: i64,
    /// Whether the certificate itself came earlier than at two thirds of the one before it.
    is_hurried: bool,
}

impl Advice {
    /// Whether the authority has ever said something.
    pub(super) fn is_known(&self) -> bool {
        self.window.is_some()
    }

    /// Whether it is time to ask.
    pub(super) fn is_old(&self, now_ms: i64) -> bool {
        now_ms >= self.again_ms
    }

    /// RFC 9773 §4.2: a moment of the window, drawn once for as long as that stays the same.
    pub(super) fn heard(&mut self, window: Option<Window>, again_ms: i64) {
        self.again_ms = again_ms;
        if self.window == window {
            return;
        }
        self.window = window.filter(|window| window.start_ms <= window.end_ms);
        if let Some(Window { start_ms, end_ms }) = self.window {
            self.drawn_ms = rand::rng().random_range(start_ms..=end_ms);
        }
    }

    /// When a certificate with this advice is to be renewed. Whatever an authority says, that is before it ends; and one that came
    /// because of its word is not replaced because of it in the first third of its life, so that a wrong clock there burns nothing.
    pub(super) fn renewal_ms(&self, facts: &Facts) -> i64 {
        let at = |tenths: i64| facts.not_before_ms + facts.life_ms() / 10 * tenths;
        let two_thirds = facts.not_before_ms + facts.life_ms() / 3 * 2;
        let earliest =
            if self.is_hurried { facts.not_before_ms + facts.life_ms() / 3 } else { i64::MIN };
        let allowed: RangeInclusive<i64> = earliest..=at(9);
        match self.window {
            Some(_) => self.drawn_ms.clamp(*allowed.start(), *allowed.end()),
            None => two_thirds,
        }
    }

    /// What is known about the next certificate when it replaces the one `before`.
    pub(super) fn of_next(&self, before: Option<&Facts>, now_ms: i64) -> Self {
        let is_hurried = before.is_some_and(|facts| {
            self.window.is_some() && now_ms < facts.not_before_ms + facts.life_ms() / 3 * 2
        });
        Self { is_hurried, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn facts() -> Facts {
        Facts {
            names: Vec::new(),
            issuer: String::new(),
            not_before_ms: 0,
            not_after_ms: 90 * DAY,
            serial: vec![1],
            authority_key: None,
        }
    }

    fn advised(start: i64, end: i64) -> Advice {
        let mut advice = Advice::default();
        advice.heard(Some(Window { start_ms: start * DAY, end_ms: end * DAY }), 7);
        advice
    }

    #[test]
    fn the_authoritys_window_counts_else_two_thirds() {
        assert_eq!(Advice::default().renewal_ms(&facts()), 60 * DAY);
        let mut advice = advised(50, 52);
        let drawn = advice.renewal_ms(&facts());
        assert!((50 * DAY..=52 * DAY).contains(&drawn), "{drawn}");
        assert!(!advice.is_old(6) && advice.is_old(7));
        advice.heard(Some(Window { start_ms: 50 * DAY, end_ms: 52 * DAY }), 9);
        assert_eq!(advice.renewal_ms(&facts()), drawn, "drawn once");
        advice.heard(None, 9);
        assert_eq!(advice.renewal_ms(&facts()), 60 * DAY);
    }

    #[test]
    fn no_word_of_an_authority_lets_a_certificate_end() {
        assert_eq!(advised(89, 89).renewal_ms(&facts()), 81 * DAY);
        assert_eq!(advised(900, 9000).renewal_ms(&facts()), 81 * DAY);
        assert_eq!(advised(5, 4).renewal_ms(&facts()), 60 * DAY, "no window at all");
    }

    #[test]
    fn a_window_that_is_always_over_renews_once_and_not_again_and_again() {
        let first = advised(-10, -9);
        assert!(first.renewal_ms(&facts()) < 0);
        let mut second = first.of_next(Some(&facts()), DAY);
        second.heard(Some(Window { start_ms: -10 * DAY, end_ms: -9 * DAY }), 0);
        assert_eq!(second.renewal_ms(&facts()), 30 * DAY);
        // One that came in its time may be called back at once.
        let mut third = second.of_next(Some(&facts()), 61 * DAY);
        third.heard(Some(Window { start_ms: -10 * DAY, end_ms: -9 * DAY }), 0);
        assert!(third.renewal_ms(&facts()) < 0);
        // A name that was added is no hurry.
        assert!(!Advice::default().of_next(Some(&facts()), DAY).is_hurried);
    }
}
