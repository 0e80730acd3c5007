//! A stored answer, and the answers that are made from it. Its body is in memory, or where it is large in a file.
//!
//! Source: RFC 9111 §3.1 and §3.2 (fields, updating them), §4 (`Age`), §4.3 (validation), RFC 9110 §13 (conditions), §14 (ranges).

mod written;

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::Method;
use tokio::sync::OnceCell;

use super::directives::{AnswerDirectives, RequestDirectives};
use super::policy::{self, Came, Head, Terms};
use super::settings::Settings;
use super::tags::tags;
use super::vary::Selection;
use crate::compress::{self, Coding, Effort};
use crate::conditions::{self, Validators, Verdict, parse_date};
use crate::message::{RequestHead, Response, ResponseBody, field};
use crate::range::{self, Range};

/// What a stored answer costs besides its bytes.
const OVERHEAD_BYTES: usize = 512;

/// Bodies up to this size are compressed on the thread of the connection that asks first.
const MAX_INLINE_BYTES: usize = 32 << 10;

/// Fields that belong to one message, or to this cache.
const NOT_STORED: [&[u8]; 8] = [
    b"age",
    b"cache-tag",
    b"surrogate-key",
    b"content-length",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"x-request-id",
];

/// An answer that may be used again.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) terms: Terms,
    status: u16,
    reason: Option<Vec<u8>>,
    /// As they are sent, with `Date` and, where it applies, `Vary: Accept-Encoding`.
    headers: Vec<(Bytes, Bytes)>,
    content: Arc<Content>,
    selection: Selection,
    tags: Vec<Box<[u8]>>,
    modified: Option<SystemTime>,
}

/// The body of a stored answer.
#[derive(Clone)]
pub(crate) enum Body {
    Memory(Bytes),
    /// A part of a file.
    File {
        file: Arc<File>,
        offset: u64,
        size: u64,
    },
}

impl Body {
    fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File { .. } => 0,
        }
    }

    /// A part of it, which lies within it.
    fn part(self, from: u64, size: u64) -> ResponseBody {
        match self {
            Self::Memory(bytes) => {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
                ResponseBody::Full(bytes.slice(at(from)..at(from + size)))
            }
            Self::File { file, offset, .. } => {
                ResponseBody::File { file, offset: offset + from, size }
            }
        }
    }
}

/// A body, and the same in the codings that clients have asked for.
struct Content {
    body: Body,
    is_compressible: bool,
    /// For each of [`Coding::ALL`]; `None` inside: not smaller.
    coded: [OnceCell<Option<Bytes>>; 3],
}

impl Content {
    fn cell(&self, coding: Coding) -> Option<&OnceCell<Option<Bytes>>> {
        let index = Coding::ALL.iter().position(|known| *known == coding)?;
        self.coded.get(index)
    }
}

/// An answer's head that may be stored once its body is here.
pub(crate) struct Storable {
    pub(crate) terms: Terms,
    selection: Selection,
}

/// What the head of an answer means for the cache; `None`: nothing of it may be stored.
pub(crate) fn storable(
    request: &RequestHead,
    asked: &RequestDirectives,
    answer: &Response,
    came: Came,
    settings: &Settings,
) -> Option<Storable> {
    let head = Head { status: answer.status, headers: &answer.headers };
    let terms = policy::terms(request, asked, head, came, settings)?;
    Some(Storable { terms, selection: Selection::of(&answer.headers, request)? })
}

impl Storable {
    /// The answer, whose body is whole.
    pub(crate) fn stored(self, answer: &Response, came: Came) -> Stored {
        let body = match &answer.body {
            // Not the buffer that it is a part of.
            ResponseBody::Full(body) => Bytes::copy_from_slice(body),
            _ => Bytes::new(),
        };
        let is_compressible = compress::is_eligible(answer);
        let body = Body::Memory(body);
        let content = Arc::new(Content { body, is_compressible, coded: Default::default() });
        self.with_content(answer, content, came)
    }

    fn with_content(self, answer: &Response, content: Arc<Content>, came: Came) -> Stored {
        let Self { terms, selection } = self;
        let said = AnswerDirectives::of(&answer.headers);
        let is_kept = |name: &[u8]| {
            !NOT_STORED.iter().any(|known| name.eq_ignore_ascii_case(known))
                && !said.no_cache.names(name)
                && !said.private.names(name)
        };
        let kept = answer.headers.iter().filter(|(name, _)| is_kept(name));
        let mut headers = packed(kept);
        if field(&headers, "date").is_none() {
            // RFC 9110 §6.6.1: whoever stores an answer without one notes when it came.
            let date = httpdate::fmt_http_date(came.date);
            headers.push((Bytes::from_static(b"Date"), date.into()));
        }
        if content.is_compressible {
            compress::add_vary(&mut headers);
        }
        Stored {
            terms,
            status: answer.status,
            reason: answer.reason.clone(),
            modified: field(&headers, "last-modified").and_then(parse_date),
            tags: tags(&answer.headers),
            headers,
            content,
            selection,
        }
    }
}

/// The same fields in a buffer of their own, which is no larger than they are.
fn packed<'a>(fields: impl Iterator<Item = &'a (Bytes, Bytes)> + Clone) -> Vec<(Bytes, Bytes)> {
    let size = fields.clone().map(|(name, value)| name.len() + value.len()).sum();
    let mut buffer = BytesMut::with_capacity(size);
    let mut pack = |bytes: &Bytes| {
        buffer.extend_from_slice(bytes);
        buffer.split().freeze()
    };
    fields.map(|(name, value)| (pack(name), pack(value))).collect()
}

impl Stored {
    /// Whether a request, for the same URL, may have it.
    pub(crate) fn is_for(&self, head: &RequestHead) -> bool {
        self.selection.matches(head)
    }

    pub(super) fn selection(&self) -> &Selection {
        &self.selection
    }

    pub(super) fn tags(&self) -> &[Box<[u8]>] {
        &self.tags
    }

    /// What it takes in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 16).sum();
        let coded: usize =
            self.content.coded.iter().filter_map(OnceCell::get).flatten().map(Bytes::len).sum();
        self.content.body.memory_bytes()
            + coded
            + fields
            + tags
            + self.selection.size()
            + OVERHEAD_BYTES
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.content.body.size()
    }

    /// The conditions under which its server says that it is still the right one (§4.3.1); empty: it can't be asked.
    pub(crate) fn conditions(&self) -> Vec<(Bytes, Bytes)> {
        let pair = |name: &'static str, condition: &'static str| {
            let value = Bytes::copy_from_slice(field(&self.headers, name)?);
            Some((Bytes::from_static(condition.as_bytes()), value))
        };
        let pairs = [pair("etag", "if-none-match"), pair("last-modified", "if-modified-since")];
        pairs.into_iter().flatten().collect()
    }

    /// The same answer with what a 304 says about it (§3.2, §4.3.4); `None`: it says that about another one.
    pub(crate) fn freshened(
        &self,
        request: &RequestHead,
        update: &Response,
        came: Came,
        settings: &Settings,
    ) -> Option<Self> {
        if !self.agrees_on("etag", update) {
            return None;
        }
        self.updated(request, update, came, settings)
    }

    /// The same answer with the fields of an answer to HEAD (§4.3.5); `None`: it is another one by now.
    pub(crate) fn updated_by_head(
        &self,
        request: &RequestHead,
        update: &Response,
        came: Came,
        settings: &Settings,
    ) -> Option<Self> {
        let same_size = update.declared_length.is_none_or(|size| size == self.body_bytes());
        let is_same = self.status == update.status
            && same_size
            && self.agrees_on("etag", update)
            && self.agrees_on("last-modified", update);
        if !is_same {
            return None;
        }
        self.updated(request, update, came, settings)
    }

    /// Whether an update says the same in a field, or nothing.
    fn agrees_on(&self, name: &str, update: &Response) -> bool {
        let theirs = field(&update.headers, name);
        theirs.is_none() || theirs == field(&self.headers, name)
    }

    fn updated(
        &self,
        request: &RequestHead,
        update: &Response,
        came: Came,
        settings: &Settings,
    ) -> Option<Self> {
        // What describes the bytes that are here stays.
        const OF_CONTENT: [&[u8]; 5] = [
            b"content-digest",
            b"content-encoding",
            b"content-length",
            b"content-md5",
            b"content-range",
        ];
        let is_new = |name: &[u8]| !OF_CONTENT.iter().any(|known| name.eq_ignore_ascii_case(known));
        let new = update.headers.iter().filter(|(name, _)| is_new(name));
        let new: Vec<_> = new.cloned().collect();
        let is_replaced =
            |name: &[u8]| new.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let mut answer = Response::new(self.status, Vec::new(), ResponseBody::Empty);
        answer.reason.clone_from(&self.reason);
        let old = self.headers.iter().filter(|(name, _)| !is_replaced(name));
        // The date is that of the update.
        let old = old.filter(|(name, _)| !name.eq_ignore_ascii_case(b"date"));
        answer.headers = old.cloned().chain(new.iter().cloned()).collect();
        let get = RequestHead { method: Method::GET, ..request.clone() };
        let none = RequestDirectives::default();
        let mut storable = storable(&get, &none, &answer, came, settings)?;
        // What else the answer depends on, it depended on when this request was sent.
        storable.selection = storable.selection.and(self.selection.clone());
        let mut stored = storable.with_content(&answer, Arc::clone(&self.content), came);
        if stored.tags.is_empty() {
            stored.tags.clone_from(&self.tags);
        }
        Some(stored)
    }

    /// The same answer, to be validated before it is used (§4.4).
    pub(super) fn expired(&self) -> Self {
        Self { terms: self.terms.expired(), ..self.clone() }
    }

    fn plain(&self) -> Coded {
        Coded { coding: Coding::Identity, body: self.content.body.clone(), is_new: false }
    }

    /// The body in a coding; [`Coding::Identity`] where that gains nothing.
    pub(crate) async fn coded(&self, coding: Coding) -> Coded {
        if let Some(coded) = self.coded_already(coding) {
            return coded;
        }
        let coded = match (self.content.cell(coding), &self.content.body) {
            (Some(cell), Body::Memory(body)) => {
                cell.get_or_init(|| encode(coding, body.clone())).await.clone()
            }
            _ => None,
        };
        let coded = coded.map(|body| Coded { coding, body: Body::Memory(body), is_new: true });
        coded.unwrap_or_else(|| self.plain())
    }

    /// The body as it is for a request, if that takes no work.
    pub(crate) fn coded_already(&self, coding: Coding) -> Option<Coded> {
        let is_in_file = matches!(self.content.body, Body::File { .. });
        if coding == Coding::Identity || !self.content.is_compressible || is_in_file {
            return Some(self.plain());
        }
        let coded = self.content.cell(coding)?.get()?.clone();
        let coded = coded.map(|body| Coded { coding, body: Body::Memory(body), is_new: false });
        Some(coded.unwrap_or_else(|| self.plain()))
    }

    /// The answer to a request from what is here (RFC 9110 §13.2.2: conditions, then ranges). `age`: it was neither made nor
    /// validated for this request (§5.1).
    pub(crate) fn response(
        &self,
        head: &RequestHead,
        coded: Coded,
        age: Option<Duration>,
    ) -> Response {
        let mut headers = Vec::with_capacity(self.headers.len() + 5);
        headers.extend(self.headers.iter().cloned());
        if coded.coding != Coding::Identity {
            compress::describe(&mut headers, coded.coding);
        }
        if let Some(age) = age {
            let age = itoa::Buffer::new().format(age.as_secs()).to_owned();
            headers.push((Bytes::from_static(b"Age"), age.into()));
        }
        let etag = field(&self.headers, "etag");
        let validators = Validators { etag, modified: self.modified };
        let is_whole = self.status == 200;
        if is_whole {
            match conditions::evaluate(head, validators) {
                Verdict::Proceed => {}
                Verdict::NotModified => return not_modified(headers),
                Verdict::Failed => return Response::new(412, Vec::new(), ResponseBody::Empty),
            }
        }
        let total = coded.body.size();
        let may_be_part =
            is_whole && coded.coding == Coding::Identity && head.method == Method::GET;
        let wanted = if may_be_part && conditions::allows_range(head, validators) {
            range::parse(head.header("range"), total)
        } else {
            Range::Whole
        };
        match wanted {
            // Several parts are not worth another form of the answer (RFC 9110 §14.2: a server may ignore ranges).
            Range::Whole | Range::Several(_) => {
                let mut response = Response::new(self.status, headers, coded.body.part(0, total));
                response.reason.clone_from(&self.reason);
                response
            }
            Range::Part { offset, size } => {
                let range = format!("bytes {offset}-{}/{total}", offset + size - 1);
                headers.push((Bytes::from_static(b"Content-Range"), range.into()));
                Response::new(206, headers, coded.body.part(offset, size))
            }
            Range::Unsatisfiable => {
                let range = Bytes::from(format!("bytes */{total}"));
                let headers = vec![(Bytes::from_static(b"Content-Range"), range)];
                Response::new(416, headers, ResponseBody::Empty)
            }
        }
    }
}

/// A body, and the coding that it is in.
pub(crate) struct Coded {
    pub(crate) coding: Coding,
    body: Body,
    /// It was made for this request, so that the answer takes more memory now.
    pub(crate) is_new: bool,
}

async fn encode(coding: Coding, body: Bytes) -> Option<Bytes> {
    // Not more work than for one client: many answers are stored for a second.
    if body.len() <= MAX_INLINE_BYTES {
        return compress::encode_whole(coding, Effort::Once, &body);
    }
    let encoding =
        tokio::task::spawn_blocking(move || compress::encode_whole(coding, Effort::Once, &body));
    encoding.await.ok().flatten()
}

/// RFC 9110 §15.4.5: without what describes a body.
fn not_modified(mut headers: Vec<(Bytes, Bytes)>) -> Response {
    const OF_BODY: [&[u8]; 5] = [
        b"accept-ranges",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-type",
    ];
    headers.retain(|(name, _)| !OF_BODY.iter().any(|known| name.eq_ignore_ascii_case(known)));
    Response::new(304, headers, ResponseBody::Empty)
}

/// The answer to a request whose conditions were kept from its server: with validators of its own it is a 304 where the
/// client has it already.
pub(crate) fn conditional(head: &RequestHead, response: Response) -> Response {
    if response.status != 200 || matches!(response.body, ResponseBody::File { .. }) {
        return response;
    }
    let validators = Validators {
        etag: field(&response.headers, "etag"),
        modified: field(&response.headers, "last-modified").and_then(parse_date),
    };
    match conditions::evaluate(head, validators) {
        Verdict::NotModified => not_modified(response.headers),
        Verdict::Proceed | Verdict::Failed => response,
    }
}
