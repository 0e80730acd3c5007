//! Which process has what we want: a port, or a lock on a file. For messages only; where /proc does not tell, nobody is named.
//!
//! Source: proc_pid_fd(5), proc_pid_net(5), proc_locks(5).

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The state of a listening socket in /proc/net/tcp: TCP_LISTEN.
const LISTENING: &str = "0A";

/// Who listens on that address, as "nginx (pid 123)".
pub(crate) fn of_address(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            table.lines().filter_map(|line| listening(line, address)).collect::<Vec<_>>()
        })
        .collect();
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
    });
    let mut holders = processes.filter(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = descriptors.filter_map(|open| fs::read_link(open.path()).ok());
        links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
    });
    name(&holders.next()?)
}

/// Who has a lock on one of these files.
pub(crate) fn of_files(files: &[&Path]) -> Option<String> {
    let inodes: Vec<u64> =
        files.iter().filter_map(|file| Some(fs::metadata(file).ok()?.ino())).collect();
    let own = std::process::id().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, kind, pid, file, ..] = fields.as_slice() else { return None };
        let inode: u64 = file.rsplit(':').next()?.parse().ok()?;
        let is_it = *kind == "WRITE" && *pid != own && inodes.contains(&inode);
        is_it.then(|| name(pid)).flatten()
    })
}

/// The inode of a socket that listens on that port, on that address or on all.
fn listening(line: &str, wanted: SocketAddr) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
    let (address, port) = local.split_once(':')?;
    let is_everywhere = |address: &str| address.bytes().all(|digit| digit == b'0');
    let is_address = is_everywhere(address)
        || wanted.ip().is_unspecified()
        || matches!(wanted.ip(), IpAddr::V4(ip) if address == hex(ip.octets()))
        || matches!(wanted.ip(), IpAddr::V6(ip) if address == hex_of_words(ip.octets()));
    let is_port = u16::from_str_radix(port, 16).ok()? == wanted.port();
    (*state == LISTENING && is_port && is_address).then(|| (*inode).to_owned())
}

/// Four bytes as the kernel prints them: a number of this machine's byte order.
fn hex(octets: [u8; 4]) -> String {
    format!("{:08X}", u32::from_ne_bytes(octets))
}

fn hex_of_words(octets: [u8; 16]) -> String {
    let (words, _) = octets.as_chunks::<4>();
    words.iter().map(|word| hex(*word)).collect()
}

fn name(pid: &str) -> Option<String> {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", command.trim_end()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_on_every_address() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("skipped: this machine has no {address}");
                continue;
            };
            let holder = of_address(listener.local_addr().unwrap()).unwrap();
            assert!(holder.contains(&format!("(pid {})", std::process::id())), "{holder}");
        }
    }

    #[test]
    fn a_free_port_has_no_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(of_address(address), None);
        assert_eq!(of_files(&[Path::new("/nowhere")]), None);
    }
}
