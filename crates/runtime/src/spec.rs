//! The specification of an application, as the host gives it: a vars block with the keys of `onebox_uwsgi::abi::spec`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use onebox_uwsgi::{DecodeError, Vars, abi};

/// Where the callable is.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// `package.module:attribute`
    Module(String),
    /// A WSGI file and the callable's name.
    File(PathBuf, String),
}

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) target: Target,
    pub(crate) root: PathBuf,
    pub(crate) chdir: PathBuf,
    pub(crate) python_path: Vec<PathBuf>,
    pub(crate) threads: usize,
    pub(crate) multiprocess: bool,
    /// Whether exceptions are shown to clients: `onebox dev`.
    pub(crate) development: bool,
    pub(crate) deadlines: Deadlines,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// A request that does not say it itself.
    pub(crate) harakiri: Duration,
    /// Its thread to come back after its deadline.
    pub(crate) grace: Duration,
    /// One call that keeps the GIL.
    pub(crate) deadlock: Duration,
}

/// A specification that can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("the specification is no vars block: {0}")]
    Block(#[from] DecodeError),
    #[error("the specification lacks {0}")]
    Missing(&'static str),
    #[error("the specification is not in hexadecimal digits")]
    Hexadecimal,
}

impl Spec {
    /// The specification in an encoded vars block.
    pub(crate) fn decode(block: &[u8]) -> Result<Self, SpecError> {
        let vars = Vars::decode(block.to_vec())?;
        let target = match (vars.get(abi::spec::MODULE), vars.get(abi::spec::FILE)) {
            (Some(module), _) => Target::Module(text(module)),
            (None, Some(file)) => Target::File(
                path(file),
                text(vars.get(abi::spec::CALLABLE).unwrap_or(b"application")),
            ),
            (None, None) => return Err(SpecError::Missing("module and file")),
        };
        let chdir = path(vars.get(abi::spec::CHDIR).ok_or(SpecError::Missing("chdir"))?);
        let root = path(vars.get(abi::spec::ROOT).ok_or(SpecError::Missing("root"))?);
        let threads = vars.get(abi::spec::THREADS).map(text).and_then(|text| text.parse().ok());
        Ok(Self {
            target,
            root,
            chdir,
            python_path: vars
                .iter()
                .filter(|(key, _)| *key == abi::spec::PYTHON_PATH)
                .map(|(_, value)| path(value))
                .collect(),
            threads: threads.unwrap_or(1).max(1),
            multiprocess: vars.get(abi::spec::MULTIPROCESS) == Some(b"1"),
            development: vars.get(abi::spec::DEVELOPMENT) == Some(b"1"),
            deadlines: Deadlines {
                harakiri: duration(&vars, abi::spec::HARAKIRI_MS, "harakiri-ms")?,
                grace: duration(&vars, abi::spec::HARAKIRI_GRACE_MS, "harakiri-grace-ms")?,
                deadlock: duration(&vars, abi::spec::DEADLOCK_TIMEOUT_MS, "deadlock-timeout-ms")?,
            },
        })
    }

    /// The specification in the hexadecimal digits of an encoded vars block.
    pub(crate) fn decode_hexadecimal(digits: &str) -> Result<Self, SpecError> {
        let digits: Option<Vec<u8>> = digits
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect();
        let digits = digits.ok_or(SpecError::Hexadecimal)?;
        let block: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte: u8, digit| (byte << 4) | digit))
            .collect();
        Self::decode(&block)
    }
}

fn duration(vars: &Vars, key: &[u8], name: &'static str) -> Result<Duration, SpecError> {
    let milliseconds = vars.get(key).map(text).and_then(|text| text.parse().ok());
    milliseconds.map(Duration::from_millis).ok_or(SpecError::Missing(name))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}
