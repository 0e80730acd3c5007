//! The life of an application through real Pythons: how it is found, fails, is stopped, and what a virtual environment is.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Outcome, Worker, get};
use onebox_app_server::{
    AppSpec, Application, Interpreter, RuntimeLibrary, StartError, WorkerReport, embed,
};
use onebox_uwsgi::channel;

/// Runs the errand of an embedded child process; nothing by itself.
#[test]
#[ignore = "the child process of the other tests"]
fn embedded_child() {
    harness::run_errand();
}

fn newest() -> Interpreter {
    harness::pythons().into_iter().max_by_key(|python| python.version).unwrap()
}

/// Asks one question of `spec` in both ways, which must answer alike.
fn both(python: &Interpreter, spec: &AppSpec) -> Outcome {
    let (embedded, _) = harness::embedded(python, spec, &[get("/")]);
    let (isolated, _) = harness::isolated(python, spec, &[get("/")]);
    assert_eq!(embedded, isolated);
    embedded
}

fn text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Answers(answers) => answers[0].text(),
        Outcome::Failed { traceback, .. } => panic!("{traceback}"),
    }
}

fn summary(outcome: Outcome) -> String {
    match outcome {
        Outcome::Answers(answers) => panic!("{answers:?}"),
        Outcome::Failed { summary, .. } => summary,
    }
}

#[test]
fn callables_are_found_by_every_form() {
    let python = newest();
    for module in ["made", "made:app", "made:namespace.inner", "made:create_app()"] {
        assert_eq!(text(both(&python, &harness::spec(module))), "made", "{module}");
    }
    let file = AppSpec {
        application: Application::File("script.wsgi".into(), "site".into()),
        ..harness::spec("")
    };
    assert_eq!(text(both(&python, &file)), "script.wsgi");
}

#[test]
fn what_is_no_application_is_said() {
    let python = newest();
    for (module, expected) in [
        ("broken", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("nowhere:app", "ModuleNotFoundError: No module named 'nowhere'"),
        ("made:number", "TypeError: made:number is not callable: it is of the type int"),
        ("made:app + 1", "ValueError: 'app + 1' is neither an attribute"),
        ("fixtures", "AttributeError: module 'fixtures' has neither 'application' nor 'app'"),
    ] {
        let summary = summary(both(&python, &harness::spec(module)));
        assert!(summary.starts_with(expected), "{summary}");
    }
}

#[test]
fn a_failed_start_shows_the_traceback_of_the_application() {
    let python = newest();
    let Outcome::Failed { traceback, .. } = both(&python, &harness::spec("broken")) else {
        panic!("it started")
    };
    assert!(traceback.starts_with("Traceback (most recent call last):\n"), "{traceback}");
    assert!(traceback.contains("tests/apps/broken.py\", line 3"), "{traceback}");
}

#[test]
fn a_virtual_environment_is_itself_both_ways_under_every_python() {
    for base in harness::pythons() {
        let folder = tempfile::tempdir().unwrap();
        let venv = folder.path().join("venv");
        let made = Command::new(&base.executable)
            .args(["-m", "venv", "--without-pip"])
            .arg(&venv)
            .status()
            .unwrap();
        assert!(made.success());
        let python = Interpreter::inspect(&venv, None).unwrap();
        assert_eq!((&python.prefix, &python.base_prefix), (&venv, &base.base_prefix));
        let questions = [get("/process"), get("/process"), get("/process")];
        let spec = harness::spec("site_of_fixtures");
        for (outcome, _) in [
            harness::embedded(&python, &spec, &questions),
            harness::isolated(&python, &spec, &questions),
        ] {
            let Outcome::Answers(answers) = outcome else { panic!("{outcome:?}") };
            let seen: serde_json::Value = serde_json::from_slice(&answers[2].body).unwrap();
            assert_eq!(seen["prefix"], venv.to_str().unwrap());
            assert_eq!(Path::new(seen["executable"].as_str().unwrap()), python.executable);
        }
        let minor = format!("{}.{}", python.version.0, python.version.1);
        let config = fs::read_to_string(venv.join("pyvenv.cfg")).unwrap();
        fs::write(venv.join("pyvenv.cfg"), config.replace(&minor, "3.1")).unwrap();
        let error = Interpreter::inspect(&venv, None).unwrap_err().to_string();
        assert!(error.contains("was made with Python 3.1"), "{error}");
        assert!(error.contains(&format!("its python is now {minor}")), "{error}");
    }
}

#[test]
fn a_python_without_its_library_is_for_workers_only() {
    let python = Interpreter { libpython: None, ..newest() };
    assert!(!python.can_embed());
    let folder = tempfile::tempdir().unwrap();
    let library = RuntimeLibrary::install(folder.path()).unwrap();
    let spec = harness::spec("made");
    let error = embed(&python, &library, &spec, channel(1).1, Box::new(drop)).unwrap_err();
    assert!(matches!(error, StartError::NoSharedLibrary(_)), "{error}");
    let (outcome, _) = harness::isolated(&python, &spec, &[get("/")]);
    assert_eq!(text(outcome), "made");
}

#[test]
fn what_applications_start_is_started_safely_and_what_is_refused_is_said() {
    let mut pythons = harness::pythons();
    pythons.sort_by_key(|python| python.version);
    for python in [pythons.first().unwrap(), pythons.last().unwrap()] {
        let spec = harness::spec("starts");
        for ask in [harness::embedded, harness::isolated] {
            let (outcome, log) = ask(python, &spec, &[get("/")]);
            let seen: serde_json::Value = serde_json::from_str(&text(outcome)).unwrap();
            let expected = serde_json::json!({
                "default": "forkserver",
                "square": 49,
                "elsewhere": true,
                "executable": true,
                "terminated": -15,
                "run": "hello\n",
                "blocked": 0,
                "forked": 7,
                "chosen": 0,
                "ticking": 100,
            });
            assert_eq!(seen, expected, "{log}");
            for name in ["SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGUSR2"] {
                let refused = format!("the handler for {name} is not set: this signal belongs");
                assert_eq!(log.matches(&refused).count(), 1, "{log}");
            }
            assert_eq!(log.matches("the application forks this process").count(), 1, "{log}");
            assert!(log.contains("starts.py"), "it says where: {log}");
        }
    }
}

/// A worker of the application that waits for the file `go`, and the folder of its files.
fn slow_worker() -> (Worker, PathBuf) {
    let files = tempfile::tempdir().unwrap().keep();
    let mut worker =
        Worker::start(&newest(), &harness::spec("lifetime"), &[("LIFETIME_FOLDER", &files)]);
    assert_eq!(worker.report(), Some(WorkerReport::Ready), "{}", worker.log());
    (worker, files)
}

fn wait_for(file: &Path) {
    let started = Instant::now();
    while !file.exists() {
        assert!(started.elapsed() < Duration::from_secs(30), "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A whole GET as it stands on the wire.
const PACKET: &[u8] =
    b"\x00\x24\x00\x00\x0e\x00REQUEST_METHOD\x03\x00GET\x09\x00PATH_INFO\x02\x00/x";

#[test]
fn sigterm_finishes_what_is_in_flight_and_runs_the_exit_handlers() {
    let (mut worker, files) = slow_worker();
    let mut connection = worker.connect().unwrap();
    connection.write_all(PACKET).unwrap();
    wait_for(&files.join("started"));
    worker.terminate();
    // The worker has stopped to listen, which it does before it waits for us.
    let started = Instant::now();
    while worker.connect().is_ok() {
        assert!(started.elapsed() < Duration::from_secs(30), "it still listens");
        std::thread::yield_now();
    }
    fs::write(files.join("go"), "").unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(b"slow\x03\x00\x00\x00\x00"), "{answer:?}");
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
    assert!(files.join("exited").exists());
    fs::remove_dir_all(files).unwrap();
}

#[test]
fn requests_that_were_sent_before_sigterm_are_served() {
    let (mut worker, files) = slow_worker();
    // Both threads are busy, and three more requests wait in their connections.
    let mut connections: Vec<_> = (0..5).map(|_| worker.connect().unwrap()).collect();
    for connection in &mut connections {
        connection.write_all(PACKET).unwrap();
    }
    wait_for(&files.join("started"));
    worker.terminate();
    fs::write(files.join("go"), "").unwrap();
    for mut connection in connections {
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        assert!(answer.ends_with(b"slow\x03\x00\x00\x00\x00"), "{answer:?}");
    }
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
    fs::remove_dir_all(files).unwrap();
}

#[test]
fn a_request_that_is_half_there_when_a_thread_looks_for_one_is_served() {
    let (worker, files) = slow_worker();
    let mut connections: Vec<_> = (0..4).map(|_| worker.connect().unwrap()).collect();
    let (busy, halves) = connections.split_at_mut(2);
    busy.iter_mut().for_each(|connection| connection.write_all(PACKET).unwrap());
    wait_for(&files.join("started"));
    // Both threads come back to these.
    let (first, second) = PACKET.split_at(PACKET.len() / 2);
    halves.iter_mut().for_each(|connection| connection.write_all(first).unwrap());
    fs::write(files.join("go"), "").unwrap();
    let end = b"slow\x03\x00\x00\x00\x00";
    let read = |connection: &mut UnixStream| {
        let mut answer = Vec::new();
        while !answer.ends_with(end) {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
    };
    busy.iter_mut().for_each(read);
    halves.iter_mut().for_each(|connection| connection.write_all(second).unwrap());
    halves.iter_mut().for_each(read);
    fs::remove_dir_all(files).unwrap();
}

#[test]
fn small_pieces_that_nobody_takes_in_arrive_whole() {
    let mut worker = Worker::start(&newest(), &harness::spec("site_of_fixtures"), &[]);
    assert_eq!(worker.report(), Some(WorkerReport::Ready), "{}", worker.log());
    let mut connection = worker.connect().unwrap();
    let vars = b"\x0e\x00REQUEST_METHOD\x03\x00GET\x09\x00PATH_INFO\x07\x00/pieces\x0b\x00SCRIPT_NAME\x00\x00";
    connection.write_all(&[0, u8::try_from(vars.len()).unwrap(), 0, 0]).unwrap();
    connection.write_all(vars).unwrap();
    // What is not taken in fills the socket, wherever a piece ends.
    let started = Instant::now();
    while rustix::io::ioctl_fionread(&connection).unwrap() < 100_000 {
        assert!(started.elapsed() < Duration::from_secs(60), "{}", worker.log());
        std::thread::yield_now();
    }
    let mut body = Vec::new();
    loop {
        let mut header = [0; 5];
        connection.read_exact(&mut header).unwrap();
        let [kind, size @ ..] = header;
        let mut payload = vec![0; usize::try_from(u32::from_le_bytes(size)).unwrap()];
        connection.read_exact(&mut payload).unwrap();
        match kind {
            1 => {}
            2 => body.extend(payload),
            kind => break assert_eq!(kind, 3, "{payload:?}"),
        }
    }
    let expected = (0..200).flat_map(|number| vec![number; 9_000 + usize::from(number)]);
    assert!(body.into_iter().eq(expected));
}

#[test]
fn the_end_of_the_life_pipe_ends_a_worker_at_once() {
    let (mut worker, files) = slow_worker();
    let mut connection = worker.connect().unwrap();
    connection.write_all(PACKET).unwrap();
    wait_for(&files.join("started"));
    worker.cut_life();
    assert_eq!(worker.wait().code(), Some(1));
    assert!(!files.join("exited").exists());
    fs::remove_dir_all(files).unwrap();
}

#[test]
fn what_is_no_request_closes_its_connection_and_nothing_else() {
    let mut worker = Worker::start(&newest(), &harness::spec("made"), &[]);
    assert_eq!(worker.report(), Some(WorkerReport::Ready));
    for nonsense in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x00\x03\x00\x00\x00\x00\x00", b"\x05\x00\x00\x00"]
    {
        let mut connection = worker.connect().unwrap();
        connection.write_all(nonsense).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Closed with bytes unread, a Unix socket may say so by a reset.
        let _ = connection.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    assert_eq!(worker.ask(&[get("/")])[0].text(), "made");
}
