//! A request, as a client sends it and as an nginx in front passes it on.

use crate::harness::packet;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    /// As it stands in the request line.
    pub(super) target: String,
    pub(super) fields: Vec<(&'static str, &'static [u8])>,
    pub(super) body: Vec<u8>,
    /// Whether the body goes in chunks where the protocol has them.
    pub(super) chunked: bool,
}

impl Ask {
    pub(super) fn get(app: &str) -> Self {
        let target = format!("/{app}");
        Self { method: "GET", target, fields: Vec::new(), body: Vec::new(), chunked: false }
    }

    pub(super) fn head(app: &str) -> Self {
        Self { method: "HEAD", ..Self::get(app) }
    }

    pub(super) fn post(app: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST", body: body.into(), ..Self::get(app) }
            .with("Content-Type", b"text/x-test")
    }

    /// The same for the application under the checker of the standard library.
    pub(super) fn checked(&self) -> Self {
        let mut checked = self.clone();
        checked.fields.push(("X-Checked", b"yes"));
        checked
    }

    pub(super) fn with(mut self, name: &'static str, value: &'static [u8]) -> Self {
        self.fields.push((name, value));
        self
    }

    pub(super) fn in_chunks(self) -> Self {
        Self { chunked: true, ..self }
    }

    /// The message over HTTP.
    pub(super) fn http(&self, version: &str) -> Vec<u8> {
        let mut message = format!(
            "{} {} HTTP/{version}\r\nHost: localhost:8080\r\nConnection: close\r\n",
            self.method, self.target
        )
        .into_bytes();
        for (name, value) in &self.fields {
            message.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        let body = &self.body;
        if self.chunked && version == "1.1" {
            message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in body.chunks(1000) {
                message.extend(format!("{:x};e=\"x\"\r\n", piece.len()).as_bytes());
                message.extend([piece, b"\r\n"].concat());
            }
            message.extend(b"0\r\nX-Trailer: dropped\r\n\r\n");
            return message;
        }
        if self.chunked || !body.is_empty() {
            message.extend(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        message.extend(b"\r\n");
        message.extend(body);
        message
    }

    /// The packet of an nginx with its stock `uwsgi_params`, and the body.
    pub(super) fn uwsgi(&self) -> Vec<u8> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let path = decoded(path);
        let has_body = self.chunked || !self.body.is_empty();
        let length = if has_body { self.body.len().to_string() } else { String::new() };
        let kind = self.fields.iter().find(|(name, _)| *name == "Content-Type");
        let mut vars: Vec<(String, &[u8])> = [
            ("QUERY_STRING", query.as_bytes()),
            ("REQUEST_METHOD", self.method.as_bytes()),
            ("CONTENT_TYPE", kind.map_or(&b""[..], |(_, value)| value)),
            ("CONTENT_LENGTH", length.as_bytes()),
            ("REQUEST_URI", self.target.as_bytes()),
            ("PATH_INFO", &path),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("REQUEST_SCHEME", b"http"),
            ("REMOTE_ADDR", b"127.0.0.1"),
            ("REMOTE_PORT", b"50000"),
            ("SERVER_PORT", b"8080"),
            ("SERVER_NAME", b"localhost"),
            ("HTTP_HOST", b"localhost:8080"),
            ("HTTP_CONNECTION", b"close"),
            ("HTTP_CONTENT_LENGTH", length.as_bytes()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        for (name, value) in &self.fields {
            // nginx does the same by default.
            if !name.contains('_') {
                vars.push((format!("HTTP_{}", name.to_uppercase().replace('-', "_")), value));
            }
        }
        let vars: Vec<(&str, &[u8])> = vars.iter().map(|(name, value)| (&**name, *value)).collect();
        [packet(0, &vars), self.body.clone()].concat()
    }
}

/// `%41` is `A`.
fn decoded(path: &str) -> Vec<u8> {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}
