//! The whole appliance is killed, at any moment: what is live is whole after the next start, and nothing half-made is left.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{DEADLINE, SiteFolder, TestBox, descendants, get, run, wait_until_gone};

/// How often; `ONEBOX_TEST_KILLS` says another number.
const KILLS: u64 = 50;
/// What a deploy tells on its way; it is killed up to [`LATER`] after one of them. Not before the first: a client that finds no
/// appliance starts one.
const STAGES: [&str; 7] = ["copy", "detect", "install", "start", "health", "switch", "done"];
/// Releases that stay.
const KEPT: usize = 5;
const LATER: Duration = Duration::from_millis(40);

#[test]
fn killed_at_any_moment_of_a_deploy_each_site_serves_one_whole_release() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = number("ONEBOX_TEST_KILLS").unwrap_or(KILLS);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed =
        number("ONEBOX_TEST_SEED").unwrap_or(u64::try_from(since_epoch.as_millis()).unwrap());
    println!("ONEBOX_TEST_SEED={seed} repeats this");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut sites = [Site::python(), Site::files()];
    let mut appliance = TestBox::start_at(&state);
    sites.iter().for_each(|site| drop(appliance.deploy(site.folder.path()).ok()));

    let mut killed_at: BTreeMap<&str, u64> = BTreeMap::new();
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for round in 1..=kills {
        let site = &mut sites[usize::try_from(round % 2).unwrap()];
        site.write(&round.to_string());
        let mut deploy = Deploy::start(&appliance, site.folder.path());
        let told =
            STAGES.into_iter().filter(|stage| *stage != "install" || site.name == "two-parts");
        let told: Vec<_> = told.collect();
        let chosen = random.below(u64::try_from(told.len()).unwrap());
        deploy.wait_for(told[usize::try_from(chosen).unwrap()]);
        std::thread::sleep(LATER * u32::try_from(random.below(1000)).unwrap() / 1000);
        kill_all(appliance, random.below(2) == 0);
        let stage = deploy.last_stage();
        *killed_at.entry(stage).or_default() += 1;

        databases_are_sound(&state);
        appliance = TestBox::start_at(&state);
        let outcome = site.after(&appliance, &round.to_string(), stage == "done");
        *outcomes.entry(outcome).or_default() += 1;
        for site in &mut sites {
            assert_eq!(site.after(&appliance, "", false), "old");
        }
        nothing_is_left(&appliance, Bounds::Passed);
    }
    println!("killed at {killed_at:?}: {outcomes:?}");
    for site in &sites {
        appliance.deploy(site.folder.path()).ok();
    }
    nothing_is_left(&appliance, Bounds::Kept);
    assert!(killed_at.len() >= STAGES.len() - 2, "the moments were not spread: {killed_at:?}");
    assert!(outcomes.len() == 2, "it was always the same release: {outcomes:?}");
}

/// A small generator of our own, so that a seed means the same on every machine: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// A site of two files that must be of one release.
struct Site {
    folder: SiteFolder,
    files: [&'static str; 2],
    name: &'static str,
    live: String,
}

impl Site {
    fn python() -> Self {
        let folder = SiteFolder::fixture("two-parts");
        Self { folder, files: ["first.txt", "second.txt"], name: "two-parts", live: "0".into() }
    }

    fn files() -> Self {
        let folder = SiteFolder::fixture("static-only");
        let site = Self {
            folder,
            files: ["index.html", "part.txt"],
            name: "static-only",
            live: "0".into(),
        };
        site.write("0");
        site
    }

    fn write(&self, text: &str) {
        self.files.iter().for_each(|file| self.folder.write(file, text));
    }

    /// It serves the old release or the new one, and both its files are of that.
    fn after(&mut self, appliance: &TestBox, new: &str, was_done: bool) -> &'static str {
        let parts = self.parts(appliance);
        let old = std::mem::replace(&mut self.live, parts.0.clone());
        assert_eq!(parts.0, parts.1, "{}: two releases at once", self.name);
        assert!(parts.0 == new || (parts.0 == old && !was_done), "{}: {parts:?}", self.name);
        if parts.0 == new { "new" } else { "old" }
    }

    fn parts(&self, appliance: &TestBox) -> (String, String) {
        let host = format!("{}.localhost", self.name);
        let ask = |path: &str| {
            let answer = get(appliance.http, &host, path);
            assert_eq!(answer.status, 200, "{}: {}", self.name, answer.text());
            answer.text()
        };
        if self.name == "static-only" {
            return (ask("/"), ask("/part.txt"));
        }
        let text = ask("/");
        let (first, second) = text.split_once(' ').unwrap();
        (first.to_owned(), second.to_owned())
    }
}

/// A deploy on its way.
struct Deploy {
    client: std::process::Child,
    stages: Receiver<&'static str>,
    last: &'static str,
}

impl Deploy {
    fn start(appliance: &TestBox, folder: &Path) -> Self {
        let mut command = appliance.command(&["deploy", folder.to_str().unwrap(), "--json"]);
        let mut client =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let (sender, stages) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event: serde_json::Value = serde_json::from_str(&line).unwrap();
                let word = event["step"].as_str().unwrap_or(event["event"].as_str().unwrap());
                // Its connection breaks when the appliance is killed, which it says as a failure.
                let known =
                    STAGES.into_iter().find(|stage| *stage == word && event["event"] != "failed");
                if let Some(stage) = known {
                    sender.send(stage).ok();
                }
            }
        });
        Self { client, stages, last: "" }
    }

    /// Until it comes to that stage, or to its end.
    fn wait_for(&mut self, stage: &str) {
        while self.last != stage && self.last != "done" {
            match self.stages.recv_timeout(DEADLINE) {
                Ok(next) => self.last = next,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(error) => panic!("{error}: the deploy stands at {}", self.last),
            }
        }
    }

    /// The last stage that it told, after the appliance was killed.
    fn last_stage(mut self) -> &'static str {
        self.client.wait().unwrap();
        self.wait_for("done");
        self.last
    }
}

/// Ends the appliance and everything that it started, from the top or from the bottom.
fn kill_all(appliance: TestBox, top_first: bool) {
    let children = descendants(appliance.pid());
    let mut all: Vec<Pid> = std::iter::once(appliance.pid()).chain(children.clone()).collect();
    if !top_first {
        all.reverse();
    }
    for pid in all {
        // One that ended by itself meanwhile is gone.
        kill_process(pid, Signal::KILL).ok();
    }
    drop(appliance);
    wait_until_gone(&children);
}

/// Looked at in copies, so that the looking mends nothing.
fn databases_are_sound(state: &Path) {
    let copies = tempfile::tempdir().unwrap();
    let mut databases = Vec::new();
    for entry in std::fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.contains(".db") {
            std::fs::copy(&path, copies.path().join(&name)).unwrap();
        }
        if name.ends_with(".db") {
            databases.push(copies.path().join(name));
        }
    }
    assert!(!databases.is_empty());
    let script = "import sqlite3, sys\nfor path in sys.argv[1:]:\n    database = sqlite3.connect(path)\n    \
                  print(database.execute('PRAGMA integrity_check').fetchall(), database.execute('PRAGMA foreign_key_check').fetchall())";
    let mut python = Command::new("python3");
    python.args(["-c", script]).args(&databases);
    let said = run(python).ok().stdout;
    assert_eq!(
        said.lines().filter(|line| *line == "[('ok',)] []").count(),
        databases.len(),
        "{said}"
    );
}

/// Whether a deploy came to its end, which removes what the killed ones left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    Kept,
    Passed,
}

/// Nothing half-made, and no socket but those of the processes that run.
fn nothing_is_left(appliance: &TestBox, bounds: Bounds) {
    let state = appliance.state();
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    for folder in ["staging", "tmp"] {
        assert_eq!(names(&state.join(folder)), [""; 0], "{folder}");
    }
    let sockets = names(&state.join("run")).into_iter().filter(|name| name.ends_with(".sock"));
    assert!(sockets.count() <= 3, "{:?}", names(&state.join("run")));
    for site in names(&state.join("sites")) {
        let listed = appliance.cli(&["releases", &site, "--json"]).ok().json();
        let of_state = |state: &str| {
            let rows = listed.as_array().unwrap().iter();
            rows.filter(|row| row["state"] == state)
                .map(|row| row["id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of_state("staging"), [""; 0], "{site}");
        let ready = of_state("ready");
        let folders = names(&state.join("sites").join(&site).join("releases"));
        assert!(ready.iter().all(|id| folders.contains(id)), "{site}: {ready:?} {folders:?}");
        if bounds == Bounds::Kept {
            assert_eq!((ready.len(), folders.len()), (KEPT, KEPT), "{site}: {listed}");
            assert!(of_state("failed").len() <= KEPT, "{site}: {listed}");
        }
    }
}

#[test]
fn what_a_killed_supervisor_started_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let appliance = TestBox::start_at(&state);
    let isolated = SiteFolder::fixture("stream");
    isolated.write("onebox.toml", "processes = 2\n");
    appliance.deploy(isolated.path()).ok();
    let children = descendants(appliance.pid());
    assert_eq!(children.len(), 3, "an engine and two workers");
    // A socket and a file as an appliance leaves them that had no time to clean up.
    drop(std::os::unix::net::UnixListener::bind(state.join("run/w99.sock")).unwrap());
    std::fs::write(state.join("tmp/left"), "half an upload").unwrap();
    drop(appliance);
    wait_until_gone(&children);

    let appliance = TestBox::start_at(&state);
    assert_eq!(get(appliance.http, "localhost", "/").status, 200);
    for left in ["run/w99.sock", "tmp/left"] {
        assert!(!state.join(left).exists(), "{left}");
    }
    let now: Vec<i64> = appliance.site("stream")["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| worker["pid"].as_i64().unwrap())
        .collect();
    let were =
        |pid: &i64| children.iter().any(|child| i64::from(child.as_raw_nonzero().get()) == *pid);
    assert_eq!((now.len(), now.iter().filter(|pid| were(pid)).count()), (2, 0));
}
