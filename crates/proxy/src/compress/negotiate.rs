//! Which coding a client prefers.

use bytes::Bytes;

use crate::message::RequestHead;
use crate::weight::weight_of;

/// A content coding that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
    /// None.
    Identity,
}

impl Coding {
    /// Those that change bytes; of two that a client likes equally the first one is taken.
    pub(crate) const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub(crate) fn name(self) -> Bytes {
        Bytes::from_static(self.token().as_bytes())
    }

    /// Its registered token.
    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }

    /// What the name of a file ends with that holds another one in this coding.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
            Self::Identity => "",
        }
    }

    fn is_named(self, token: &[u8]) -> bool {
        token.eq_ignore_ascii_case(self.token().as_bytes())
            || (self == Self::Gzip && token.eq_ignore_ascii_case(b"x-gzip"))
    }
}

/// The coding for an answer to this request. A client that accepts nothing gets plain bytes all the same.
pub(crate) fn choose(head: &RequestHead) -> Coding {
    choose_among(head, Coding::ALL)
}

/// The same where only some codings can be had.
pub(crate) fn choose_among(
    head: &RequestHead,
    codings: impl IntoIterator<Item = Coding>,
) -> Coding {
    let mut best = (Coding::Identity, 0);
    for coding in codings {
        let weight = weight(head, coding).unwrap_or(0);
        if weight > best.1 {
            best = (coding, weight);
        }
    }
    // Plain bytes stand behind every coding that is accepted, unless the client says how much it wants them.
    match named_weight(head, Coding::Identity) {
        Some(plain) if plain > best.1 => Coding::Identity,
        _ => best.0,
    }
}

/// How much a client wants a coding, in thousandths; `None`: it says nothing about it.
fn weight(head: &RequestHead, coding: Coding) -> Option<u16> {
    named_weight(head, coding)
        .or_else(|| weights(head).find(|(token, _)| *token == b"*").map(|(_, weight)| weight))
}

fn named_weight(head: &RequestHead, coding: Coding) -> Option<u16> {
    weights(head).find(|(token, _)| coding.is_named(token)).map(|(_, weight)| weight)
}

fn weights(head: &RequestHead) -> impl Iterator<Item = (&[u8], u16)> {
    let items = head.header_values("accept-encoding").flat_map(|value| value.split(|b| *b == b','));
    items.map(|item| {
        let token = item.split(|byte| *byte == b';').next().unwrap_or_default();
        (token.trim_ascii(), weight_of(item))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_coding_follows_the_clients_weights() {
        let table = [
            (&["gzip, deflate, br, zstd"][..], Coding::Zstd),
            (&["gzip, br"], Coding::Brotli),
            (&["gzip"], Coding::Gzip),
            (&["x-gzip"], Coding::Gzip),
            (&["GZIP;Q=0.5"], Coding::Gzip),
            (&["gzip;q=1.0, br;q=0.5"], Coding::Gzip),
            (&["zstd;q=0, gzip;q=0.001"], Coding::Gzip),
            (&["*"], Coding::Zstd),
            (&["*, zstd;q=0"], Coding::Brotli),
            (&["gzip;q=0.2", "br ; q=0.3"], Coding::Brotli),
            (&["identity, gzip;q=0.5"], Coding::Identity),
            (&["identity;q=0.5, gzip;q=0.5"], Coding::Gzip),
            (&["identity;q=0"], Coding::Identity),
            (&["gzip;q=0"], Coding::Identity),
            (&["gzip;q=nonsense"], Coding::Identity),
            (&["deflate"], Coding::Identity),
            (&[""], Coding::Identity),
            (&[], Coding::Identity),
        ];
        for (values, expected) in table {
            let headers: Vec<_> = values.iter().map(|value| ("accept-encoding", *value)).collect();
            assert_eq!(choose(&testing::get("/", &headers)), expected, "{values:?}");
        }
    }
}
