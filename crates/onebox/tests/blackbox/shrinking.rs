//! Files that become shorter while they are sent.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

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

/// The same with curl, which has to see that the answer is not whole.
fn fetch_while_emptied(arguments: &[&str], url: &str, file: &File) -> u64 {
    file.set_len(SIZE).unwrap();
    let mut command = Command::new("curl");
    command.args(["-sSfkN", "--max-time", "60"]).args(arguments).arg(url);
    let mut client = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut body = client.stdout.take().unwrap();
    let mut seen = vec![0; 100_000];
    body.read_exact(&mut seen).unwrap();
    file.set_len(0).unwrap();
    let count = seen.len() as u64 + io::copy(&mut body, &mut io::sink()).unwrap();
    assert!(!client.wait().unwrap().success(), "{url} {arguments:?}: {count} bytes are no error");
    count
}

#[test]
fn an_answer_is_cut_where_its_file_became_shorter() {
    for isolation in ["embedded", "process"] {
        let appliance = TestBox::start_with_tls();
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
            let plain = format!("http://localhost:{}{path}", appliance.http.port());
            let encrypted = format!("https://localhost:{}{path}", appliance.https.unwrap().port());
            for (version, url) in [
                ("--http2-prior-knowledge", &plain),
                ("--http1.1", &encrypted),
                ("--http2", &encrypted),
            ] {
                let count = fetch_while_emptied(&[version], url, &file);
                assert!(count < SIZE, "{url} {version} ({isolation}): {count} bytes");
            }
        }
    }
}
