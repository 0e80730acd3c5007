//! Uploads that are far larger than the memory they may take.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{DEADLINE, SiteFolder, TestBox};

/// Six times what it may take of memory.
const BODY_BYTES: usize = 384 << 20;
const MEMORY_KB: u64 = 64 << 10;
const BLOCK_BYTES: usize = 1 << 20;
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(20);

#[test]
fn a_huge_upload_takes_little_memory_in_both_modes() {
    let site = SiteFolder::fixture("uploads");
    for isolation in ["embedded", "process"] {
        let appliance = TestBox::start();
        let text = format!("isolation = '{isolation}'\nmax-body = '4GB'\nharakiri = '10m'\n");
        site.write("onebox.toml", &text);
        appliance.deploy(site.path()).ok();
        assert_eq!(upload(appliance.http, BLOCK_BYTES), BLOCK_BYTES.to_string());

        let mut processes = vec![i64::from(appliance.engine_pid())];
        let workers = appliance.site("uploads")["workers"].clone();
        processes
            .extend(workers.as_array().unwrap().iter().filter_map(|worker| worker["pid"].as_i64()));
        processes.sort_unstable();
        processes.dedup();
        assert_eq!(processes.len(), if isolation == "embedded" { 1 } else { 2 });
        let before = memory_kb(&processes);
        let watch = Watch::start(processes);
        assert_eq!(upload(appliance.http, BODY_BYTES), BODY_BYTES.to_string());
        let most = watch.stop();
        assert!(most < before + MEMORY_KB, "{isolation}: {before} KB before, then {most} KB");
    }
}

/// Sends so many bytes as they are made; what the application counted.
fn upload(address: SocketAddr, bytes: usize) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).unwrap();
    let block = vec![b'x'; BLOCK_BYTES];
    for _ in 0..bytes / BLOCK_BYTES {
        client.write_all(&block).unwrap();
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.rsplit("\r\n").next().unwrap().to_owned()
}

/// Looks at the memory of processes until it is stopped.
struct Watch {
    stop: Arc<AtomicBool>,
    looking: JoinHandle<u64>,
}

impl Watch {
    fn start(processes: Vec<i64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let looking = std::thread::spawn(move || {
            let mut most = memory_kb(&processes);
            while !until.load(Ordering::Relaxed) {
                most = most.max(memory_kb(&processes));
                std::thread::sleep(LOOK);
            }
            most
        });
        Self { stop, looking }
    }

    /// The most it has seen.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

/// The proportional set size of processes together.
fn memory_kb(processes: &[i64]) -> u64 {
    let of_one = |process: &i64| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    processes.iter().map(of_one).sum()
}
