//! Header rules: remove, set, add.

use bytes::Bytes;
use onebox_config::site::HeaderRules;

/// Header rules whose names and values are ready to be sent.
#[derive(Default)]
pub(crate) struct HeaderPatch {
    /// Fields that go: those to be removed, and those that are set anew.
    gone: Vec<Bytes>,
    fields: Vec<(Bytes, Bytes)>,
}

impl HeaderPatch {
    /// For answers: names as they are written.
    pub(super) fn of_answers(rules: &HeaderRules) -> Self {
        let bytes = |text: &String| Bytes::copy_from_slice(text.as_bytes());
        let set = rules.set.iter().map(|(name, _)| name);
        let fields = rules.set.iter().chain(&rules.add);
        Self {
            gone: rules.remove.iter().chain(set).map(bytes).collect(),
            fields: fields.map(|(name, value)| (bytes(name), bytes(value))).collect(),
        }
    }

    /// For requests: names in lower case, as everywhere in a head.
    pub(super) fn of_requests(rules: &HeaderRules) -> Self {
        let patch = Self::of_answers(rules);
        let lower = |name: Bytes| Bytes::from(name.to_ascii_lowercase());
        Self {
            gone: patch.gone.into_iter().map(lower).collect(),
            fields: patch.fields.into_iter().map(|(name, value)| (lower(name), value)).collect(),
        }
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.fields.is_empty()
    }

    /// Applies the rules to a request. What its `Connection` names goes no further: a client must not name what is set here.
    pub(crate) fn apply_to_request(&self, headers: &mut Vec<(Bytes, Bytes)>) {
        let is_set = |token: &[u8]| {
            self.fields.iter().any(|(name, _)| token.trim_ascii().eq_ignore_ascii_case(name))
        };
        for (_, value) in headers.iter_mut().filter(|(name, _)| name == "connection") {
            let others = value.split(|byte| *byte == b',').filter(|token| !is_set(token));
            *value = others.collect::<Vec<_>>().join(&b","[..]).into();
        }
        self.apply(headers);
    }

    /// Applies the rules.
    pub(crate) fn apply(&self, headers: &mut Vec<(Bytes, Bytes)>) {
        if !self.gone.is_empty() {
            headers
                .retain(|(name, _)| !self.gone.iter().any(|gone| name.eq_ignore_ascii_case(gone)));
        }
        headers.extend(self.fields.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{testing, vars};

    #[test]
    fn headers_are_removed_then_set_then_added() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let rules = HeaderRules {
            remove: vec!["x-powered-by".into()],
            set: vec![field("X-Frame-Options", "DENY"), field("Vary", "A"), field("Vary", "B")],
            add: vec![field("Link", "2")],
        };
        let bytes =
            |(name, value): (&'static str, &'static str)| (Bytes::from(name), Bytes::from(value));
        let mut headers: Vec<_> =
            [("X-Powered-By", "PHP"), ("x-frame-options", "ALLOW"), ("link", "1"), ("Vary", "C")]
                .map(bytes)
                .to_vec();
        HeaderPatch::of_answers(&rules).apply(&mut headers);
        let expected = [
            ("link", "1"),
            ("X-Frame-Options", "DENY"),
            ("Vary", "A"),
            ("Vary", "B"),
            ("Link", "2"),
        ];
        assert_eq!(headers, expected.map(bytes).to_vec());
        assert_eq!(HeaderPatch::of_requests(&rules).fields[0].0, "x-frame-options");
    }

    #[test]
    fn a_client_has_nothing_taken_out_that_is_set_here() {
        let field = |name: &str| (name.to_owned(), "ours".to_owned());
        let rules =
            HeaderRules { set: vec![field("X-A")], add: vec![field("X-B")], ..Default::default() };
        let mut head = testing::get(
            "/",
            &[("x-a", "1"), ("x-c", "2"), ("connection", "close, X-a"), ("connection", "x-b,x-c")],
        );
        HeaderPatch::of_requests(&rules).apply_to_request(&mut head.headers);
        let goes_on = |(name, _): &&(Bytes, Bytes)| vars::goes_on(name, &head);
        let fields: Vec<_> = head.headers.iter().filter(goes_on).collect();
        let ours = |name: &'static str| (Bytes::from(name), Bytes::from("ours"));
        assert_eq!(fields, [&ours("x-a"), &ours("x-b")]);
    }
}
