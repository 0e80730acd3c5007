//! What proxies say in each request: `Forwarded`, or the older `X-Forwarded-*`.
//!
//! Source: RFC 7239. A list is read from its end, which the nearest proxy has written: addresses of proxies that are trusted are
//! passed over, and the first other one is the client. What stands before it may be anybody's invention.

use std::net::{IpAddr, SocketAddr};

use super::Said;
use crate::message::{RequestHead, Scheme};

/// What `X-Forwarded-For`, `-Proto`, `-Host` and `-Port` say.
pub(super) fn x_forwarded(head: &RequestHead, trusted: impl Fn(IpAddr) -> bool) -> Said {
    let list = |name: &str| list(head, name, |text| text.split(',').collect());
    let hops = list("x-forwarded-for");
    let (client, place) = client(hops.iter().map(|hop| node(hop)), trusted);
    // Where each proxy has added to a list, the entry of the client's hop counts; else what the nearest one says.
    let of_hop = |name: &str| {
        let values = list(name);
        let place = if values.len() == hops.len() { place } else { None };
        let place = place.or(values.len().checked_sub(1))?;
        values.into_iter().nth(place)
    };
    Said {
        client,
        scheme: of_hop("x-forwarded-proto").and_then(|value| scheme(&value)),
        host: of_hop("x-forwarded-host"),
        port: of_hop("x-forwarded-port").and_then(|value| value.parse().ok()),
    }
}

/// What `Forwarded` says.
pub(super) fn forwarded(head: &RequestHead, trusted: impl Fn(IpAddr) -> bool) -> Said {
    let elements = list(head, "forwarded", |text| parts(text, ','));
    let elements: Vec<_> = elements.iter().map(|element| parameters(element)).collect();
    let value = |element: &[(String, String)], name: &str| {
        element.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let nodes = elements.iter().map(|element| value(element, "for").and_then(|text| node(&text)));
    let (client, place) = client(nodes, trusted);
    let place = place.or(elements.len().checked_sub(1));
    let Some(element) = place.and_then(|place| elements.get(place)) else { return Said::default() };
    Said {
        client,
        scheme: value(element, "proto").and_then(|value| scheme(&value)),
        host: value(element, "host"),
        port: None,
    }
}

/// The last address that is no trusted proxy's, and its place; where all are, the first one. What is no address ends the list.
fn client(
    nodes: impl DoubleEndedIterator<Item = Option<SocketAddr>> + ExactSizeIterator,
    trusted: impl Fn(IpAddr) -> bool,
) -> (Option<SocketAddr>, Option<usize>) {
    let mut last = (None, None);
    for (place, node) in nodes.enumerate().rev() {
        let Some(address) = node else { return last };
        last = (Some(address), Some(place));
        if !trusted(address.ip()) {
            return last;
        }
    }
    last
}

/// The elements of all fields of a name, which may be lists.
fn list(head: &RequestHead, name: &str, part: fn(&str) -> Vec<&str>) -> Vec<String> {
    let values: Vec<_> = head.header_values(name).map(String::from_utf8_lossy).collect();
    let items = values.iter().flat_map(|text| part(text)).map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// What stands between separators that are in no quotes. Read from the end: a quotation mark that a client has left open hides
/// nothing that proxies have added behind it.
fn parts(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    let mut parts: Vec<_> = text
        .rsplit(|character| {
            is_quoted ^= character == '"';
            character == separator && !is_quoted
        })
        .collect();
    parts.reverse();
    parts
}

/// `for=192.0.2.1;proto=https`; names in lower case, values without quotes.
fn parameters(element: &str) -> Vec<(String, String)> {
    let pairs = parts(element, ';').into_iter().filter_map(|pair| pair.split_once('='));
    let pair = |(name, value): (&str, &str)| {
        let value = value.trim();
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        (name.trim().to_ascii_lowercase(), unquoted.unwrap_or(value).to_owned())
    };
    pairs.map(pair).collect()
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0))
}

fn scheme(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(Scheme::Http),
        "https" | "wss" => Some(Scheme::Https),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    fn trusted(address: IpAddr) -> bool {
        address.to_string().starts_with("10.")
    }

    fn client_of(list: &str) -> Option<String> {
        let head = testing::get("/", &[("x-forwarded-for", list)]);
        x_forwarded(&head, trusted).client.map(|client| client.to_string())
    }

    #[test]
    fn the_client_is_the_last_one_that_is_no_proxy() {
        let table = [
            ("192.0.2.1", Some("192.0.2.1:0")),
            ("6.6.6.6, 192.0.2.1", Some("192.0.2.1:0")),
            ("6.6.6.6, 192.0.2.1:99, 10.0.0.1,10.0.0.2", Some("192.0.2.1:99")),
            ("10.0.0.1, 10.0.0.2", Some("10.0.0.1:0")),
            ("6.6.6.6, unknown, 10.0.0.2", Some("10.0.0.2:0")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]:5", Some("[2001:db8::1]:5")),
            ("nonsense", None),
            ("", None),
            // A client's own part, in front of what the proxy has added.
            ("\"6.6.6.6, 192.0.2.1", Some("192.0.2.1:0")),
            ("\"10.0.0.1, 192.0.2.1, 10.0.0.2", Some("192.0.2.1:0")),
        ];
        for (list, expected) in table {
            assert_eq!(client_of(list).as_deref(), expected, "{list}");
        }
    }

    #[test]
    fn lists_of_one_length_belong_together() {
        let head = testing::get(
            "/",
            &[
                ("x-forwarded-for", "192.0.2.1, 10.0.0.1"),
                ("x-forwarded-proto", "https, http"),
                ("x-forwarded-host", "forged, a.example, b.example"),
                ("x-forwarded-port", "443"),
            ],
        );
        let said = x_forwarded(&head, trusted);
        assert_eq!(said.scheme, Some(Scheme::Https));
        assert_eq!((said.host.as_deref(), said.port), (Some("b.example"), Some(443)));
    }

    #[test]
    fn a_quotation_mark_that_a_client_leaves_open_hides_nothing_behind_it() {
        let client_of = |text: &str| {
            let head = testing::get("/", &[("forwarded", text)]);
            forwarded(&head, trusted).client.map(|client| client.to_string())
        };
        let table = [
            ("for=\"[2001:db8::1]:5\", for=10.0.0.1", "[2001:db8::1]:5"),
            ("for=\"6.6.6.6, for=192.0.2.1;proto=https", "192.0.2.1:0"),
            ("for=6.6.6.6;x=\", for=\"192.0.2.1\", for=10.0.0.1", "192.0.2.1:0"),
            ("for=192.0.2.1;host=\"a,for=6.6.6.6,b\"", "192.0.2.1:0"),
            ("host=\"a;for=6.6.6.6;b\";for=192.0.2.1", "192.0.2.1:0"),
        ];
        for (text, expected) in table {
            assert_eq!(client_of(text).as_deref(), Some(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "[for=;,\":\\[\\]0-9a-f. ]{0,60}") {
            let head = testing::get("/", &[("forwarded", &text), ("x-forwarded-for", &text)]);
            let _ = forwarded(&head, trusted);
            let _ = x_forwarded(&head, trusted);
        }
    }
}
