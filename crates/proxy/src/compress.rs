//! Compression.

use crate::message::{RequestHead, Response};

pub(crate) fn apply(_head: &RequestHead, response: Response) -> Response {
    response
}
