//! Somebody in the middle: passes connections on, and says something before them.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

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
                let mut server = TcpStream::connect(server).unwrap();
                server.write_all(&introduction).unwrap();
                let (back, there) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || pass(client, server));
                std::thread::spawn(move || pass(back, there));
            }
        });
        Self { address }
    }
}

/// One direction, to its end.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Write).ok();
}
