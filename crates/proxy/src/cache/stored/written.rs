//! A stored answer without its body as bytes, and back. Times are told by the clock of the world there, which goes on meanwhile.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::super::disk::{Reader, Writer};
use super::super::policy::Terms;
use super::super::vary::Selection;
use super::{Body, Content, Stored};
use crate::conditions::parse_date;
use crate::message::field;

const IS_COMPRESSIBLE: u64 = 1;
const ALWAYS_VALIDATED: u64 = 2;
const FORBIDS_STALE: u64 = 4;

impl Stored {
    /// Appends it.
    pub(in super::super) fn write(&self, out: &mut Writer) {
        let terms = &self.terms;
        let flags = [
            (self.content.is_compressible, IS_COMPRESSIBLE),
            (terms.always_validated, ALWAYS_VALIDATED),
            (terms.forbids_stale, FORBIDS_STALE),
        ];
        out.u64(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
        out.u64(u64::from(self.status));
        out.maybe(self.reason.as_deref());
        out.u64(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
        out.u64(millis(terms.age(Instant::now())));
        for time in [terms.lifetime, terms.stale_while_revalidate, terms.stale_if_error] {
            out.u64(millis(time));
        }
        out.u64(self.headers.len() as u64);
        for (name, value) in &self.headers {
            out.bytes(name);
            out.bytes(value);
        }
        out.u64(self.selection.0.len() as u64);
        for (name, value) in &self.selection.0 {
            out.bytes(name);
            out.maybe(value.as_deref());
        }
        out.u64(self.tags.len() as u64);
        self.tags.iter().for_each(|tag| out.bytes(tag));
    }

    /// Reads one, as old as it is by now; its body is to follow.
    ///
    /// # Errors
    /// Where nobody wrote this.
    pub(in super::super) fn read(from: &mut Reader<'_>) -> io::Result<Self> {
        let flags = from.u64()?;
        let status = u16::try_from(from.u64()?).map_err(|_| io::ErrorKind::InvalidData)?;
        let reason = from.maybe()?.map(<[u8]>::to_vec);
        let written_at = UNIX_EPOCH.checked_add(Duration::from_millis(from.u64()?));
        let written_at = written_at.ok_or(io::ErrorKind::InvalidData)?;
        let age_written = Duration::from_millis(from.u64()?);
        let mut time = || from.u64().map(Duration::from_millis);
        let (lifetime, stale_while_revalidate, stale_if_error) = (time()?, time()?, time()?);
        let mut headers = Vec::new();
        for _ in 0..from.u64()? {
            let name = Bytes::copy_from_slice(from.bytes()?);
            headers.push((name, Bytes::copy_from_slice(from.bytes()?)));
        }
        let mut selection = Vec::new();
        for _ in 0..from.u64()? {
            let name = from.bytes()?.to_vec();
            selection.push((name, from.maybe()?.map(<[u8]>::to_vec)));
        }
        let mut tags = Vec::new();
        for _ in 0..from.u64()? {
            tags.push(from.bytes()?.into());
        }
        let terms = Terms {
            received_at: Instant::now(),
            // A clock that was put back says nothing about how long it has been.
            age_then: age_written + written_at.elapsed().unwrap_or_default(),
            lifetime,
            always_validated: flags & ALWAYS_VALIDATED != 0,
            forbids_stale: flags & FORBIDS_STALE != 0,
            stale_while_revalidate,
            stale_if_error,
        };
        let is_compressible = flags & IS_COMPRESSIBLE != 0;
        let body = Body::Memory(Bytes::new());
        Ok(Self {
            terms,
            status,
            reason,
            modified: field(&headers, "last-modified").and_then(parse_date),
            headers,
            content: Arc::new(Content { body, is_compressible, coded: Default::default() }),
            selection: Selection(selection),
            tags,
        })
    }

    /// The same answer with its body.
    pub(in super::super) fn with_body(self, body: Body) -> Self {
        let is_compressible = self.content.is_compressible;
        let content = Content { body, is_compressible, coded: Default::default() };
        Self { content: Arc::new(content), ..self }
    }

    /// Its body; `None` where that lies in a file.
    pub(in super::super) fn whole_body(&self) -> Option<Bytes> {
        match &self.content.body {
            Body::Memory(body) => Some(body.clone()),
            Body::File { .. } => None,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
