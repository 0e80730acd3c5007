//! How much a client wants an item of a list like `Accept-Encoding`.
//!
//! Source: RFC 9110 §12.4.2 (quality values).

/// The weight of an item with its parameters, in thousandths: 1000 where it has none, 0 where it can't be read.
pub(crate) fn weight_of(item: &[u8]) -> u16 {
    let parameters = item.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    let mut weights = parameters.filter_map(|parameter| match parameter {
        [b'q' | b'Q', b'=', digits @ ..] => Some(thousandths(digits)),
        _ => None,
    });
    weights.next().unwrap_or(1000)
}

/// `1`, `0.25`, `0.5`; what is none counts as 0.
fn thousandths(text: &[u8]) -> u16 {
    let (whole, fraction) = match text {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return 0,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let digit = |index: usize| u16::from(fraction.get(index).map_or(0, |byte| byte - b'0'));
    (u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2)).min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_read_or_counts_as_nothing() {
        let table = [
            ("gzip", 1000),
            ("text/html;level=1", 1000),
            ("en;q=0.5", 500),
            ("en ; Q=0.125 ; x=y", 125),
            ("en;q=1", 1000),
            ("en;q=1.000", 1000),
            ("en;q=0", 0),
            ("en;q=2", 0),
            ("en;q=0.1234", 0),
            ("en;q=0.x", 0),
            ("en;q=", 0),
        ];
        for (item, weight) in table {
            assert_eq!(weight_of(item.as_bytes()), weight, "{item}");
        }
    }
}
