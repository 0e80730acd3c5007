//! Requests that the server answers itself, whatever the site: TRACE, and OPTIONS about the server as a whole.
//!
//! Source: RFC 9110 §9.3.7 (OPTIONS), §9.3.8 (TRACE), §15.5.6 (a 405 names what is allowed).

use bytes::Bytes;
use http::Method;

use crate::message::{RequestHead, Response, ResponseBody};

/// The methods of RFC 9110 and RFC 5789 that sites may answer; an application gets every other method too.
const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The server's own answer; `None`: it is the site's.
pub(crate) fn answer(head: &RequestHead) -> Option<Response> {
    // What TRACE sends back are the client's credentials and what proxies added to them; nginx refuses it too.
    let status = match head.method {
        Method::TRACE => 405,
        Method::OPTIONS if head.path.as_ref() == b"*" => 200,
        _ => return None,
    };
    let allow = (Bytes::from_static(b"Allow"), Bytes::from_static(ALLOW.as_bytes()));
    Some(Response::new(status, vec![allow], ResponseBody::Empty))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_trace_is_refused_and_options_of_the_server_are_told() {
        let ask = |method, target| {
            answer(&testing::request(method, target, &[])).map(|response| {
                (response.status, testing::header(&response, "allow").unwrap_or_default())
            })
        };
        assert_eq!(ask(Method::TRACE, "/a"), Some((405, ALLOW.to_owned())));
        assert_eq!(ask(Method::OPTIONS, "*"), Some((200, ALLOW.to_owned())));
        assert_eq!(ask(Method::OPTIONS, "/*"), None);
        assert_eq!(ask(Method::GET, "/"), None);
    }
}
