//! Listeners that systemd opened before this process was started, each by its name: `http`, `https` or `admin`.
//!
//! Source: sd_listen_fds(3); systemd.socket(5), `FileDescriptorName=`.

use std::io;
use std::net::TcpListener;
use std::os::fd::{OwnedFd, RawFd};

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::Pid;

use crate::process::take_inherited;

/// The first descriptor (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// More are an error: a unit has a few.
const MOST: RawFd = 64;

/// The listeners by what they are for; an empty list was not given, and the configuration says where to listen.
#[derive(Debug, Default)]
pub(crate) struct Activation {
    pub(crate) http: Vec<TcpListener>,
    pub(crate) https: Vec<TcpListener>,
    pub(crate) admin: Vec<TcpListener>,
}

/// What systemd gave is not what this version can use.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// `LISTEN_FDS`
    #[error("LISTEN_FDS is \"{0}\"; it must be a number from 0 to {MOST}")]
    Count(String),
    /// A name that stands for nothing.
    #[error(
        "systemd gave a socket named \"{0}\"; set FileDescriptorName= in its unit to \"http\", \"https\" or \"admin\""
    )]
    Name(String),
    /// No listening socket.
    #[error(
        "the socket \"{0}\" that systemd gave is no listening TCP socket; use ListenStream= with an address"
    )]
    Kind(String),
    /// A descriptor that is not there.
    #[error("descriptor {number} of LISTEN_FDS can't be used: {reason}")]
    Descriptor {
        /// Which.
        number: RawFd,
        /// Why.
        reason: io::Error,
    },
}

impl Activation {
    /// Takes what was given to this process; nothing where `LISTEN_PID` names another one. Call it once, before anything else has
    /// opened a descriptor.
    ///
    /// # Errors
    /// [`ActivationError`] with the first socket that can't be used.
    pub(crate) fn take() -> Result<Self, ActivationError> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let is_ours = match variable("LISTEN_PID").as_str() {
            // Given to the first process of a container, in front of which there is another one now.
            "1" => rustix::process::getppid().is_none_or(Pid::is_init),
            number => number == std::process::id().to_string(),
        };
        if !is_ours {
            return Ok(Self::default());
        }
        let mut activation = Self::default();
        for (number, name) in numbered(&variable("LISTEN_FDS"), &variable("LISTEN_FDNAMES"))? {
            let descriptor = take_inherited(number)
                .map_err(|reason| ActivationError::Descriptor { number, reason })?;
            activation.add(descriptor, name)?;
        }
        Ok(activation)
    }

    fn add(&mut self, descriptor: OwnedFd, name: String) -> Result<(), ActivationError> {
        let list = match name.as_str() {
            "http" => &mut self.http,
            "https" => &mut self.https,
            "admin" => &mut self.admin,
            _ => return Err(ActivationError::Name(name)),
        };
        if !is_listening_tcp(&descriptor) {
            return Err(ActivationError::Kind(name));
        }
        let listener = TcpListener::from(descriptor);
        listener.set_nonblocking(true).map_err(|_| ActivationError::Kind(name))?;
        list.push(listener);
        Ok(())
    }
}

/// The descriptors' numbers and names; one without a name has none.
fn numbered(count: &str, names: &str) -> Result<Vec<(RawFd, String)>, ActivationError> {
    let number = count.parse::<RawFd>().ok().filter(|number| (0..=MOST).contains(number));
    let number = number.ok_or_else(|| ActivationError::Count(count.to_owned()))?;
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    Ok((FIRST..FIRST + number).zip(names).collect())
}

fn is_listening_tcp(descriptor: &OwnedFd) -> bool {
    let is_ip = sockopt::socket_domain(descriptor)
        .is_ok_and(|family| [AddressFamily::INET, AddressFamily::INET6].contains(&family));
    is_ip
        && sockopt::socket_type(descriptor) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(descriptor) == Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_with_their_numbers_and_a_count_that_is_none_is_told() {
        let found = numbered("3", "http:admin").unwrap();
        assert_eq!(found, [(3, "http".into()), (4, "admin".into()), (5, String::new())]);
        assert_eq!(numbered("0", "").unwrap(), []);
        for wrong in ["", "-1", "65", "three"] {
            assert!(matches!(numbered(wrong, ""), Err(ActivationError::Count(_))), "{wrong}");
        }
    }

    #[test]
    fn only_listening_tcp_sockets_with_a_name_of_ours_are_taken() {
        let mut activation = Activation::default();
        let listener = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        activation.add(listener(), "http".into()).unwrap();
        activation.add(listener(), "https".into()).unwrap();
        activation.add(listener(), "admin".into()).unwrap();
        let counts = [&activation.http, &activation.https, &activation.admin].map(Vec::len);
        assert_eq!(counts, [1, 1, 1]);
        for name in ["", "onebox.socket", "tls"] {
            let error = activation.add(listener(), name.into()).unwrap_err().to_string();
            assert!(error.contains("FileDescriptorName="), "{error}");
        }
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = activation.add(udp.into(), "http".into()).unwrap_err();
        assert!(matches!(error, ActivationError::Kind(_)));
    }
}
