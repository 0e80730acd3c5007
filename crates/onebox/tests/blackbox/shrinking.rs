//! Files that become shorter while they are sent.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{DEADLINE, SiteFolder, TestBox};

/// Much more than kernel and client hold.
const SIZE: u64 = 256 << 20;

/// How much of the answer comes where the file is emptied when some of it was seen.
fn read_while_emptied(address: SocketAddr, path: &str, file: &File) -> u64 {
    file.set_len(SIZE).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(client, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut seen = vec![0; 100_000];
    client.read_exact(&mut seen).unwrap();
    let head = String::from_utf8_lossy(&seen[..1000]).to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {SIZE}\r\n")), "{head}");
    file.set_len(0).unwrap();
    let mut count = seen.len() as u64;
    loop {
        match client.read(&mut seen) {
            Ok(0) => return count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return count,
            read => count += read.unwrap() as u64,
        }
    }
}

#[test]
fn an_answer_is_cut_where_its_file_became_shorter() {
    for isolation in ["embedded", "process"] {
        let appliance = TestBox::start();
        let site = SiteFolder::fixture("shrinking");
        let settings = "persist = ['kept']\n[static]\n'/static' = 'kept'\n";
        site.write("onebox.toml", &format!("isolation = '{isolation}'\n{settings}"));
        site.write("kept/large.bin", "");
        appliance.deploy(site.path()).ok();
        let path = appliance.state().join("sites/shrinking/shared/kept/large.bin");
        let file = File::options().write(true).open(path).unwrap();
        for path in ["/static/large.bin", "/file"] {
            let count = read_while_emptied(appliance.http, path, &file);
            assert!(count < SIZE, "{path} ({isolation}): {count} bytes");
        }
    }
}
