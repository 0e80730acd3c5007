//! What a source calls its answers, so that they can be purged together: Cloudflare's `Cache-Tag`, Fastly's `Surrogate-Key`.

use bytes::Bytes;

use crate::message::fields;

/// The tags of an answer.
pub(super) fn tags(headers: &[(Bytes, Bytes)]) -> Vec<Box<[u8]>> {
    let listed = fields(headers, "cache-tag").flat_map(|value| value.split(|byte| *byte == b','));
    let keys = fields(headers, "surrogate-key").flat_map(|value| value.split(|byte| *byte == b' '));
    let tags = listed.chain(keys).map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty());
    tags.map(Box::from).collect()
}

/// Takes out the fields that are for this cache alone.
pub(crate) fn hide_tags(headers: &mut Vec<(Bytes, Bytes)>) {
    headers.retain(|(name, _)| {
        !name.eq_ignore_ascii_case(b"cache-tag") && !name.eq_ignore_ascii_case(b"surrogate-key")
    });
}
