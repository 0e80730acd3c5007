//! Fields that a request has once or not at all.
//!
//! Source: RFC 9110 §5.3: only fields that are lists may be repeated. Content-Length and Host have rules of their own
//! (`framing`, `parse`).

use bytes::Bytes;

use super::refusal::Refusal;

/// Those that decide what is answered and to whom: with two values, each reader could go by another one. A second User-Agent
/// or Referer does no harm, and is joined to the first.
const SINGLETONS: [&[u8]; 9] = [
    b"authorization",
    b"content-range",
    b"content-type",
    b"if-modified-since",
    b"if-range",
    b"if-unmodified-since",
    b"origin",
    b"proxy-authorization",
    b"range",
];

/// Refuses a head in which one of them is repeated; names in lower case.
///
/// # Errors
/// [`Refusal`] with 400.
pub(crate) fn check_singletons(headers: &[(Bytes, Bytes)]) -> Result<(), Refusal> {
    let mut seen = [false; SINGLETONS.len()];
    for (name, _) in headers {
        let place = SINGLETONS.iter().position(|singleton| *singleton == name.as_ref());
        let Some(seen) = place.and_then(|place| seen.get_mut(place)) else { continue };
        if std::mem::replace(seen, true) {
            return Err(Refusal::bad_request(
                "A field that has one value is given more than once.",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&'static str]) -> Result<(), u16> {
        let field = |name: &&'static str| (Bytes::from_static(name.as_bytes()), Bytes::new());
        let headers: Vec<_> = names.iter().map(field).collect();
        check_singletons(&headers).map_err(|refusal| refusal.status)
    }

    #[test]
    fn each_singleton_is_taken_once_and_refused_twice() {
        for name in SINGLETONS.map(|name| std::str::from_utf8(name).unwrap()) {
            assert_eq!(check(&[name, "accept", "cookie"]), Ok(()), "{name}");
            assert_eq!(check(&["accept", name, name]), Err(400), "{name}");
        }
        assert_eq!(check(&["cookie", "cookie", "accept", "accept", "x", "x"]), Ok(()));
    }
}
