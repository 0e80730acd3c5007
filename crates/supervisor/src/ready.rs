//! Telling whoever started the appliance that it is ready, or why it never will be.
//!
//! `onebox deploy` starts an appliance in the background and must know when it answers, and the first password, which is shown
//! once. It leaves the write end of a pipe open in its child and names the descriptor in `ONEBOX_READY_FD`; one JSON line
//! ([`Readiness`]) comes back through it. A pipe that closes without a line means that the appliance ended early.

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

/// The variable that holds the descriptor's number; never passed on to a child.
pub const READY_FD: &str = "ONEBOX_READY_FD";

/// The one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Readiness {
    /// It serves.
    Ready(Ready),
    /// It could not start.
    Failed {
        /// Why, in a sentence or two.
        error: String,
    },
}

/// What a freshly started appliance says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The addresses that sites are served on, ports as really bound.
    pub http: Vec<String>,
    /// The same with TLS.
    #[serde(default)]
    pub https: Vec<String>,
    /// The dashboard's addresses, ports as really bound.
    pub admin: Vec<String>,
    /// The password of the user `admin`, when this start made it.
    pub first_password: Option<String>,
}

/// The descriptor on which readiness is told, if somebody asked for it.
#[derive(Debug, Default)]
pub struct ReadySignal {
    pipe: Option<File>,
}

impl ReadySignal {
    /// Takes the descriptor that the environment names. Call it once, at the start of the process.
    pub fn from_environment() -> Self {
        let number = std::env::var(READY_FD).ok().and_then(|text| text.parse::<i32>().ok());
        let Some(number) = number.filter(|number| *number > 2) else {
            return Self::default();
        };
        // SAFETY: the starter left this descriptor open for us alone and named it in our environment, and this function
        // runs once, before anything else could have opened a descriptor of that number.
        #[allow(unsafe_code)]
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        // A name that stands for nothing open is not ours to close either: `fcntl` tells, and it keeps children from holding it.
        match rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC) {
            Ok(()) => Self { pipe: Some(File::from(descriptor)) },
            Err(_) => {
                std::mem::forget(descriptor);
                Self::default()
            }
        }
    }

    /// Whether somebody waits: this process was started in the background.
    pub fn is_awaited(&self) -> bool {
        self.pipe.is_some()
    }

    /// Tells it, once; whoever waited may be gone, which is no error.
    pub fn tell(&mut self, readiness: &Readiness) {
        if let (Some(mut pipe), Ok(mut line)) = (self.pipe.take(), serde_json::to_vec(readiness)) {
            line.push(b'\n');
            pipe.write_all(&line).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_line_survive_the_pipe() {
        let ready = Readiness::Ready(Ready {
            http: vec!["127.0.0.1:8080".into()],
            https: vec!["127.0.0.1:8443".into()],
            admin: vec!["127.0.0.1:8081".into()],
            first_password: Some("sesame".into()),
        });
        let failed = Readiness::Failed { error: "the port is taken".into() };
        for line in [ready, failed] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Readiness>(&text).unwrap(), line);
        }
    }

    #[test]
    fn telling_nobody_is_fine() {
        ReadySignal::default().tell(&Readiness::Failed { error: String::new() });
    }
}
