//! The isolated worker's server: all threads wait on one epoll for the listening socket and the idle connections, and the
//! one that wakes serves what woke it.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onebox_uwsgi::{FileRange, Vars, key};
use pyo3::Python;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::connection::{Connection, Waiting};
use crate::errors::write_to_stderr;
use crate::host::{Answer, Body, Gone, Host, Incoming, Piece, Sent};

/// Marks the listening socket among the events.
const LISTENER: u64 = 0;
/// Marks the descriptor that is readable when no thread is needed any more.
const OVER: u64 = 1;
/// The first mark of a connection.
const FIRST_CONNECTION: u64 = 2;

/// How long nobody is accepted when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_millis(50);

/// The server; shared by its threads.
pub(crate) struct Server {
    epoll: OwnedFd,
    over: OwnedFd,
    state: Mutex<State>,
}

struct State {
    /// Gone when the server is stopping and took everybody who waited in it.
    listener: Option<Arc<UnixListener>>,
    stopping: bool,
    /// Nobody could be accepted, which was told.
    exhausted: bool,
    idle: HashMap<u64, Connection>,
    next: u64,
}

impl Server {
    /// A server on `listener`.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(crate) fn new(listener: UnixListener) -> io::Result<Arc<Self>> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let over = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &over, EventData::new_u64(OVER), EventFlags::IN)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), once())?;
        let state = State {
            listener: Some(Arc::new(listener)),
            stopping: false,
            exhausted: false,
            idle: HashMap::new(),
            next: FIRST_CONNECTION,
        };
        Ok(Arc::new(Self { epoll, over, state: Mutex::new(state) }))
    }

    /// Takes no new request, but everything that the proxy has already sent: shutting a socket's receiving side down
    /// makes the other end's next write fail, which is safe to repeat elsewhere, and leaves what was written before.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        if let Some(listener) = &state.listener {
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
        for connection in state.idle.values() {
            let _ = connection.stream().shutdown(Shutdown::Read);
        }
        self.end_when_empty(&state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_when_empty(&self, state: &State) {
        if state.stopping && state.listener.is_none() && state.idle.is_empty() {
            // The counter can't overflow: it is written a few times in a process's life.
            let _ = rustix::io::write(&self.over, &1u64.to_ne_bytes());
        }
    }

    /// Takes one event and says what it is about; `None`: there is none now.
    fn event(&self, waiting: Waiting) -> io::Result<Option<u64>> {
        let limit = match waiting {
            Waiting::Allowed => None,
            Waiting::Refused => Some(&Timespec { tv_sec: 0, tv_nsec: 0 }),
        };
        let mut events: [Event; 1] =
            [Event { flags: EventFlags::empty(), data: EventData::new_u64(OVER) }];
        loop {
            match epoll::wait(&self.epoll, &mut events, limit) {
                Ok(0) if waiting == Waiting::Refused => return Ok(None),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    let [event] = events;
                    return Ok(Some(event.data.u64()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Accepts one connection, and lets another thread accept the next.
    fn accept(&self) {
        let (listener, was_stopping) = {
            let state = self.state();
            let Some(listener) = state.listener.clone() else { return };
            (listener, state.stopping)
        };
        match listener.accept() {
            Ok((stream, _)) => {
                self.state().exhausted = false;
                let connection =
                    stream.set_nonblocking(false).and_then(|()| Connection::new(stream));
                if let Ok(connection) = connection {
                    self.watch(connection, Known::No);
                }
            }
            // It was shut down before we asked: nobody waits in it and nobody can any more.
            Err(_) if was_stopping => {
                let mut state = self.state();
                state.listener = None;
                self.end_when_empty(&state);
                return;
            }
            // The event comes again at once, and trying as often would only burn time.
            Err(error) if is_exhaustion(&error) => {
                // Once, until it is over.
                if !std::mem::replace(&mut self.state().exhausted, true) {
                    let text = format!(
                        "onebox: this process can take no more connections, requests wait: {error}\n"
                    );
                    write_to_stderr(text.as_bytes());
                }
                std::thread::sleep(PAUSE);
            }
            // Another thread was quicker.
            Err(_) => {}
        }
        let _ = epoll::modify(&self.epoll, &*listener, EventData::new_u64(LISTENER), once());
    }

    /// Puts a connection among the idle ones.
    fn watch(&self, connection: Connection, known: Known) {
        let mut state = self.state();
        if state.stopping {
            let _ = connection.stream().shutdown(Shutdown::Read);
        }
        let token = match known {
            Known::As(token) => token,
            Known::No => {
                state.next += 1;
                state.next
            }
        };
        let data = EventData::new_u64(token);
        let watched = match known {
            Known::As(_) => epoll::modify(&self.epoll, connection.stream(), data, once()),
            Known::No => epoll::add(&self.epoll, connection.stream(), data, once()),
        };
        if watched.is_ok() {
            state.idle.insert(token, connection);
        }
    }
}

/// Whether the epoll has seen a connection before.
#[derive(Clone, Copy)]
enum Known {
    No,
    As(u64),
}

impl Host for Arc<Server> {
    /// The GIL is kept where the next request is here already: to give it up between two requests would hand it to another thread
    /// that has one, and cost a change of threads for each.
    fn receive(&self, py: Python<'_>) -> Option<Incoming> {
        let event = self.event(Waiting::Refused).ok().flatten();
        let incoming = event.and_then(|event| self.request_of(event, Waiting::Refused));
        incoming.or_else(|| py.detach(|| self.next_request(event)))
    }
}

impl Server {
    /// Waits for the next request; an event that was taken already comes first.
    fn next_request(self: &Arc<Self>, mut taken: Option<u64>) -> Option<Incoming> {
        loop {
            let event = match taken.take() {
                Some(event) => event,
                None => self.event(Waiting::Allowed).ok()??,
            };
            match event {
                OVER => return None,
                LISTENER => self.accept(),
                token => {
                    let incoming = self.request_of(token, Waiting::Allowed);
                    if incoming.is_some() {
                        return incoming;
                    }
                    let state = self.state();
                    self.end_when_empty(&state);
                }
            }
        }
    }

    /// The request of an idle connection; `None` where it has none. What is wrong with a connection ends it, and the proxy sees that;
    /// one whose request is still to come stays where waiting was refused.
    fn request_of(self: &Arc<Self>, token: u64, waiting: Waiting) -> Option<Incoming> {
        let mut connection = self.state().idle.remove(&token)?;
        let vars = match connection.read_request(waiting) {
            Err(error)
                if waiting == Waiting::Refused && error.kind() == io::ErrorKind::WouldBlock =>
            {
                self.state().idle.insert(token, connection);
                return None;
            }
            read => read.ok().flatten()?,
        };
        let exchange = Arc::new(Exchange {
            server: Arc::clone(self),
            token,
            connection: Mutex::new(Some(connection)),
        });
        Some(Incoming {
            time_left: time_left(&vars),
            vars: Arc::new(vars),
            body: Box::new(SocketBody(Arc::clone(&exchange))),
            answer: Box::new(SocketAnswer(exchange)),
        })
    }
}

/// What the proxy says of the request's deadline.
fn time_left(vars: &Vars) -> Option<Duration> {
    let text = str::from_utf8(vars.get(key::TIME_LEFT_MS)?).ok()?;
    text.parse().ok().map(Duration::from_millis)
}

/// A request being served; the connection leaves it when the answer ends.
struct Exchange {
    server: Arc<Server>,
    token: u64,
    connection: Mutex<Option<Connection>>,
}

struct SocketBody(Arc<Exchange>);
struct SocketAnswer(Arc<Exchange>);

impl Exchange {
    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes by `write`. At the end of an answer the connection goes back to the server.
    fn write(
        &self,
        last: bool,
        write: impl FnOnce(&mut Connection) -> io::Result<Sent>,
    ) -> Result<Sent, Gone> {
        let mut guard = self.connection();
        let mut connection = guard.take().ok_or(Gone)?;
        let sent = write(&mut connection).map_err(|_| Gone)?;
        if !last || sent == Sent::WouldWait {
            *guard = Some(connection);
            return Ok(sent);
        }
        drop(guard);
        if let Ok(true) = connection.drain_body() {
            self.server.watch(connection, Known::As(self.token));
        }
        Ok(sent)
    }
}

impl Body for SocketBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.connection().as_mut() {
            Some(connection) => connection.read_body(buffer),
            None => Ok(0),
        }
    }

    fn may_wait(&self) -> bool {
        true
    }
}

impl Answer for SocketAnswer {
    fn try_send(&mut self, piece: &Piece<'_>) -> Result<Sent, Gone> {
        self.0.write(piece.last, |connection| connection.write_piece(piece, Waiting::Refused))
    }

    fn send(&mut self, piece: &Piece<'_>) -> Result<(), Gone> {
        let write = |connection: &mut Connection| connection.write_piece(piece, Waiting::Allowed);
        self.0.write(piece.last, write).map(drop)
    }

    fn send_file(&mut self, head: &[u8], file: OwnedFd, range: FileRange) -> Result<(), Gone> {
        self.0.write(false, |connection| connection.write_file(head, &file, range)).map(drop)
    }

    fn abort(&mut self, reason: &str) {
        // A proxy that is gone needs no reason.
        let _ = self.0.write(true, |connection| connection.write_abort(reason));
    }
}

impl Drop for SocketAnswer {
    /// An answer without an end closes its connection.
    fn drop(&mut self) {
        self.0.connection().take();
    }
}

/// Descriptors or memory have run out, until something gives them back.
fn is_exhaustion(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// One event, and no more before the descriptor is watched again.
fn once() -> EventFlags {
    EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT
}
