//! Somebody in the middle: passes connections on, and says something before them.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

use super::command::DEADLINE;

/// Passes connections on as long as the test runs.
pub(crate) struct Relay {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Relay {
    /// To `server`, which hears `introduction` at the beginning of each connection.
    pub(crate) fn start(server: SocketAddr, introduction: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                pass_on(client, server, &introduction);
            }
        });
        Self { address }
    }
}

/// Keeps whoever comes waiting until it is told where they may go.
pub(crate) struct Doorman {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    door: Arc<Mutex<Door>>,
    came: Receiver<()>,
}

#[derive(Default)]
struct Door {
    opens_to: Option<SocketAddr>,
    waiting: Vec<TcpStream>,
}

impl Doorman {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let door = Arc::new(Mutex::new(Door::default()));
        let (sender, came) = mpsc::channel();
        let keeper = Arc::clone(&door);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut door = keeper.lock().unwrap();
                match door.opens_to {
                    Some(server) => pass_on(client, server, b""),
                    None => door.waiting.push(client),
                }
                sender.send(()).ok();
            }
        });
        Self { address, door, came }
    }

    /// Waits until somebody has come.
    pub(crate) fn wait_for_somebody(&self) {
        self.came.recv_timeout(DEADLINE).expect("nobody comes");
    }

    /// Those that wait do so for nothing.
    pub(crate) fn turn_away(&self) {
        self.door.lock().unwrap().waiting.clear();
    }

    /// From now on everybody gets through, those that wait too.
    pub(crate) fn open_to(&self, server: SocketAddr) {
        let mut door = self.door.lock().unwrap();
        door.opens_to = Some(server);
        for client in door.waiting.drain(..) {
            pass_on(client, server, b"");
        }
    }
}

fn pass_on(client: TcpStream, server: SocketAddr, introduction: &[u8]) {
    let mut server = TcpStream::connect(server).unwrap();
    server.write_all(introduction).unwrap();
    let (back, there) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || pass(client, server));
    std::thread::spawn(move || pass(back, there));
}

/// One direction, to its end.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Write).ok();
}
