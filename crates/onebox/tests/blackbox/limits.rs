//! What a machine runs out of: each time a clear message, what can be served is served, and all is well when the cause goes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::harness::{
    Connection, DEADLINE, Fifo, Finished, Poller, SiteFolder, TestBox, Tmpfs, begin_stream, get,
    onebox, run,
};

/// Tries again and again until it is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn deploys(appliance: &TestBox, site: &SiteFolder, text: &str) {
    site.write("release.txt", text);
    appliance.deploy(site.path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), text);
}

#[test]
fn a_full_disk_refuses_what_needs_it_and_serves_the_rest() {
    let Some(disk) = Tmpfs::mount(32) else { return };
    let appliance = TestBox::start_at(&disk.join("state"));
    let site = SiteFolder::fixture("released");
    site.write("public/page.txt", "a file");
    site.write("onebox.toml", "[static]\n\"/public\" = \"public\"\n");
    appliance.deploy(site.path()).ok();
    disk.fill();
    let visitors = Poller::start(appliance.http, "localhost", "/");
    let files = Poller::start(appliance.http, "localhost", "/public/page.txt");
    site.write("release.txt", "two");
    let refused = appliance.deploy(site.path()).failed();
    assert!(
        refused.stderr.contains("No space left") || refused.stderr.contains("full"),
        "{}",
        refused.all()
    );
    // What would have to be spooled is refused with a reason; what is small is not.
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    let large = connection.post("/", "text/plain", vec![b'x'; 4 << 20]).unwrap();
    assert_eq!(large.status, 507, "{}", large.text());
    assert_eq!(
        Connection::open(appliance.http, "localhost")
            .unwrap()
            .post("/", "text/plain", "small")
            .unwrap()
            .status,
        200
    );
    appliance.cli(&["restart", "released"]).ok();
    visitors.all_well();
    files.all_well();
    let said = appliance.said();
    assert!(said.matches("can't be written").count() < 20, "{said}");

    disk.empty();
    deploys(&appliance, &site, "two");
    let releases = appliance.cli(&["releases", "released", "--json"]).ok().json();
    let states: Vec<_> =
        releases.as_array().unwrap().iter().map(|release| release["state"].clone()).collect();
    assert!(!states.contains(&"staging".into()), "{releases}");
}

#[test]
fn a_state_folder_that_cannot_be_used_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let refused = serve(&folder.path().join("file/state"), &["--http", "127.0.0.1:0"]).failed();
    assert!(
        refused.stderr.contains("file/state") && refused.stderr.contains("Not a directory"),
        "{}",
        refused.stderr
    );
    let Some(disk) = Tmpfs::mount(1) else { return };
    disk.remount("ro");
    let refused = serve(&disk.join("state"), &["--http", "127.0.0.1:0"]).failed();
    assert!(refused.stderr.contains("Read-only file system"), "{}", refused.stderr);
}

#[test]
fn a_taken_port_is_told_with_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let start = |flags: &[&str]| serve(&folder.path().join("state"), flags).failed().stderr;
    let address = address.to_string();
    for flags in [
        ["--http", &address, "--admin", "127.0.0.1:0"],
        ["--http", "127.0.0.1:0", "--admin", &address],
    ] {
        // The report is wrapped at the width of a terminal.
        let said: String = start(&flags).replace('│', " ").split_whitespace().collect();
        let holder = format!("(pid{})hasthisaddress", std::process::id());
        assert!(said.contains(&address) && said.contains(&holder), "{said}");
    }
    drop(taken);
}

/// Runs an appliance that is to end by itself.
fn serve(state: &Path, flags: &[&str]) -> Finished {
    let mut command = onebox();
    command
        .arg("serve")
        .args(flags)
        .env("ONEBOX_STATE_DIR", state)
        .env("ONEBOX_CONFIG_DIR", "/nowhere");
    run(command)
}

/// Another program that holds the database.
struct Locker(Child);

impl Locker {
    fn lock(state: &Path) -> Self {
        let script = "import sqlite3, sys\ndatabase = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                      database.execute('BEGIN IMMEDIATE')\nprint('locked', flush=True)\nsys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(state.join("state.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(child)
    }

    fn unlock(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_locked_database_refuses_changes_and_holds_up_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let appliance = TestBox::start_at(&state);
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let locker = Locker::lock(&state);
    let visitors = Poller::start(appliance.http, "localhost", "/");
    let refused = appliance.cli(&["stop", "released"]).failed();
    assert!(refused.stderr.contains("locked by another program"), "{}", refused.stderr);
    visitors.all_well();
    locker.unlock();
    appliance.cli(&["stop", "released"]).ok();
    assert_eq!(appliance.site("released")["state"], "stopped");
    appliance.cli(&["start", "released"]).ok();
    drop(appliance);

    // At a start it is waited for, and who has it is told.
    let locker = Locker::lock(&state);
    let pid = locker.0.id();
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| TestBox::start_at(&state));
        std::thread::sleep(Duration::from_millis(500));
        assert!(!starting.is_finished(), "it started without the database");
        locker.unlock();
        let appliance = starting.join().unwrap();
        assert_eq!(get(appliance.http, "localhost", "/").text(), "one");
        let said = appliance.said();
        // Where the lock went before the first attempt was over, there was nothing to tell.
        assert!(
            !said.contains("state.db is locked") || said.contains(&format!("(pid {pid})")),
            "{said}"
        );
    });
}

#[test]
fn a_damaged_database_is_replaced_by_its_copy() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let appliance = TestBox::start_at(&state);
    appliance.deploy(SiteFolder::fixture("released").path()).ok();
    let site = appliance.site("released");
    eventually("the copy has the release", || {
        fs::read(state.join("state-copy.db")).is_ok_and(|bytes| {
            let id = site["release"].as_str().unwrap().as_bytes();
            bytes.windows(id.len()).any(|window| window == id)
        })
    });
    drop(appliance);
    fs::write(state.join("state.db"), [0x5a; 40_000]).unwrap();
    let appliance = TestBox::start_at(&state);
    assert_eq!(get(appliance.http, "localhost", "/").text(), "one");
    assert_eq!(appliance.site("released")["release"], site["release"]);
    assert!(appliance.said().contains("state.db was damaged"), "{}", appliance.said());
    drop(appliance);

    fs::write(state.join("state.db"), [0x5a; 40_000]).unwrap();
    fs::remove_file(state.join("state-copy.db")).unwrap();
    let refused = serve(&state, &["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).failed();
    for said in ["damaged", "backup", "move it away"] {
        assert!(refused.stderr.contains(said), "{said} in {}", refused.stderr);
    }
}

/// Changes the soft limit of a process; returns the one before.
fn limit_descriptors(pid: Pid, descriptors: Option<u64>) -> Option<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: descriptors, maximum };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap().current
}

/// Changes how large a file may become that a process writes; returns the limit before.
fn limit_files(pid: Pid, bytes: Option<u64>) -> Option<u64> {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit { current: bytes, maximum };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap().current
}

#[test]
fn what_is_larger_than_files_may_be_is_refused_and_ends_no_process() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let engine = Pid::from_raw(appliance.engine_pid()).unwrap();
    limit_files(engine, Some(1 << 20));
    let post = |body: Vec<u8>| {
        let mut connection = Connection::open(appliance.http, "localhost").unwrap();
        connection.post("/", "text/plain", body).unwrap().status.as_u16()
    };
    assert_eq!((post(vec![b'x'; 4 << 20]), post(vec![b'x'; 100 << 10])), (507, 200));
    assert_eq!(appliance.status()["engine"]["crashes"], 0);

    let before = limit_files(appliance.pid(), Some(0));
    let refused = appliance.cli(&["maintenance", "released", "on"]).failed();
    assert!(refused.stderr.contains("disk"), "{}", refused.all());
    limit_files(appliance.pid(), before);
    deploys(&appliance, &site, "two");
}

fn descriptors(pid: Pid) -> u64 {
    let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    open.count().try_into().unwrap()
}

#[test]
fn an_engine_without_descriptors_waits_without_spinning_and_goes_on() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let engine = Pid::from_raw(appliance.engine_pid()).unwrap();
    let mut open = Connection::open(appliance.http, "localhost").unwrap();
    assert_eq!(open.get("/").unwrap().status, 200);
    let before = limit_descriptors(engine, Some(descriptors(engine)));
    // The kernel takes connections that the engine can't; they wait.
    let mut waiting = Connection::open(appliance.http, "localhost").unwrap();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| waiting.get("/"));
        eventually("the reason is told", || {
            appliance.said().contains("no connection can be accepted")
        });
        assert_eq!(
            open.get("/").map(|answer| answer.status.as_u16()).unwrap_or(0),
            200,
            "what is open is served"
        );
        std::thread::sleep(Duration::from_secs(1));
        let attempts = appliance.said().matches("no connection can be accepted").count();
        assert!(attempts < 30, "{attempts} attempts");
        limit_descriptors(engine, before);
        assert_eq!(answer.join().unwrap().unwrap().status, 200);
    });
    assert_eq!(appliance.status()["engine"]["crashes"], 0);
}

#[test]
fn a_supervisor_without_descriptors_keeps_the_engine_and_replaces_it_later() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let engine = Pid::from_raw(appliance.engine_pid()).unwrap();
    let before = limit_descriptors(appliance.pid(), Some(descriptors(appliance.pid())));
    assert_eq!(get(appliance.http, "localhost", "/").status, 200);
    kill_process(engine, Signal::KILL).unwrap();
    eventually("the reason is told", || appliance.said().contains("no engine can be started"));
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| get(appliance.http, "localhost", "/"));
        limit_descriptors(appliance.pid(), before);
        assert_eq!(answer.join().unwrap().status, 200);
    });
}

fn memory_runs_out(configuration: &str) {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("hungry");
    site.write("onebox.toml", configuration);
    appliance.deploy(site.path()).ok();
    let pid = get(appliance.http, "localhost", "/").text();
    let process = Pid::from_raw(pid.parse().unwrap()).unwrap();
    let memory = 2 << 30;
    prlimit(Some(process), Resource::As, Rlimit { current: Some(memory), maximum: None }).unwrap();
    let visitors = Poller::start(appliance.http, "localhost", "/");
    let answer = get(appliance.http, "localhost", "/eat");
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!(get(appliance.http, "localhost", "/").text(), pid, "it is the same process");
    visitors.all_well();
    let log = appliance.cli(&["logs", "hungry"]).ok().stdout;
    assert!(log.contains("MemoryError"), "{log}");
}

#[test]
fn an_embedded_request_that_finds_no_memory_fails_alone() {
    memory_runs_out("");
}

#[test]
fn a_request_of_a_worker_that_finds_no_memory_fails_alone() {
    memory_runs_out("isolation = \"process\"\n");
}

/// An appliance of a user without rights, who has no other process.
struct Unprivileged {
    appliance: TestBox,
    user: u32,
    _folder: tempfile::TempDir,
}

impl Unprivileged {
    /// How many processes its user may have before the supervisor may start no more.
    fn allow_processes(&self, most: &str) {
        let mut prlimit = Command::new("prlimit");
        prlimit.arg(format!("--pid={}", self.appliance.pid().as_raw_nonzero()));
        // Root in a container may not do it.
        prlimit.arg(format!("--nproc={most}:")).uid(self.user).gid(self.user);
        run(prlimit).ok();
    }
}

/// `None`, and said, where this user may not start one.
fn unprivileged() -> Option<Unprivileged> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root starts an appliance of another user");
        return None;
    }
    let user = 50_000 + std::process::id() % 10_000;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("onebox");
    fs::copy(env!("CARGO_BIN_EXE_onebox"), &program).unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(user), Some(user)).unwrap();
    let mut command = Command::new(program);
    command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.uid(user).gid(user).env("HOME", &state).current_dir("/").stdin(Stdio::null());
    let appliance = TestBox::start_as(command, Some(&state));
    Some(Unprivileged { appliance, user, _folder: folder })
}

#[test]
fn a_supervisor_that_may_start_no_process_tells_why_and_serves_and_goes_on_later() {
    let Some(started) = unprivileged() else { return };
    let appliance = &started.appliance;
    let site = SiteFolder::fixture("released");
    site.write("onebox.toml", "isolation = \"process\"\n");
    appliance.deploy(site.path()).ok();
    let worker = &appliance.site("released")["workers"][0]["pid"];
    let worker = Pid::from_raw(i32::try_from(worker.as_i64().unwrap()).unwrap()).unwrap();
    let engine = Pid::from_raw(appliance.engine_pid()).unwrap();
    started.allow_processes("1");
    let visitors = Poller::start(appliance.http, "localhost", "/");
    site.write("release.txt", "two");
    let refused = appliance.deploy(site.path()).failed();
    let said: String = refused.stderr.replace('│', " ").split_whitespace().collect();
    assert!(said.contains("ulimit-u"), "{}", refused.stderr);
    assert!(!said.contains("installpython"), "{}", refused.stderr);
    visitors.all_well();

    // What ends now can't be replaced until it may.
    kill_process(worker, Signal::KILL).unwrap();
    appliance.wait_for_line("could not be started");
    kill_process(engine, Signal::KILL).unwrap();
    appliance.wait_for_line("no engine can be started");
    let before = getrlimit(Resource::Nproc).current;
    started.allow_processes(&before.map_or("unlimited".to_owned(), |most| most.to_string()));
    serves_again(appliance);
    deploys(appliance, &site, "two");
}

/// Waits until its first release answers.
fn serves_again(appliance: &TestBox) {
    eventually("it serves again", || {
        let asked =
            Connection::open(appliance.http, "localhost").and_then(|mut open| open.get("/"));
        asked.is_ok_and(|answer| answer.status == 200 && answer.text() == "one")
    });
}

#[test]
fn a_state_folder_that_loses_its_rights_is_told_and_what_is_loaded_is_served() {
    let Some(Unprivileged { appliance, .. }) = &unprivileged() else { return };
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let rights = |mode| {
        fs::set_permissions(appliance.state(), fs::Permissions::from_mode(mode)).unwrap();
    };
    rights(0o000);
    let visitors = Poller::start(appliance.http, "localhost", "/");
    site.write("release.txt", "two");
    let refused = appliance.deploy(site.path()).failed();
    assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    visitors.all_well();
    let engine = Pid::from_raw(appliance.engine_pid()).unwrap();
    kill_process(engine, Signal::KILL).unwrap();
    appliance.wait_for_line("no engine can be started");
    rights(0o711);
    serves_again(appliance);
    deploys(appliance, &site, "two");
}

#[test]
fn a_worker_without_descriptors_lets_requests_wait_says_so_and_goes_on() {
    let appliance = TestBox::start();
    let fifo = Fifo::new();
    let site = SiteFolder::fixture("stream");
    let settings = format!("isolation = \"process\"\n[env]\nSTREAM_FIFO = {:?}\n", fifo.path());
    site.write("onebox.toml", &settings);
    appliance.deploy(site.path()).ok();
    // It has the one connection that the engine has kept; the next request needs another.
    let (mut open, mut stream) = begin_stream(appliance.http);
    let pid = appliance.site("stream")["workers"][0]["pid"].as_i64().unwrap();
    let worker = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let before = limit_descriptors(worker, Some(descriptors(worker)));
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| get(appliance.http, "localhost", "/").text());
        eventually("the reason is told", || {
            let log = appliance.cli(&["logs", "stream"]).ok().stdout;
            log.contains("can take no more connections") && log.contains("Too many open files")
        });
        assert!(!answer.is_finished());
        limit_descriptors(worker, before);
        assert_eq!(answer.join().unwrap(), pid.to_string());
    });
    let log = appliance.cli(&["logs", "stream"]).ok().stdout;
    assert_eq!(log.matches("can take no more connections").count(), 1, "{log}");
    fifo.release_reader();
    assert_eq!(open.piece(&mut stream).unwrap().unwrap(), "second");
}
