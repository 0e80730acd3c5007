//! Real Pythons, both ways: an isolated worker over its socket, an embedded interpreter in a child process of its own.
#![allow(
    dead_code,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use bytes::Bytes;
use onebox_app_server::{
    AppSpec, Application, Deadlines, Interpreter, Notice, RuntimeLibrary, WorkerReport, embed,
    worker_command,
};
use onebox_uwsgi::{
    Body, BufferLimits, Connector, Request, ResponseFrame, ResponseStream, VarsBuilder, channel,
    socket,
};
use serde::{Deserialize, Serialize};

/// Names the file with the [`Errand`] of an embedded child process.
const ERRAND: &str = "ONEBOX_TEST_ERRAND";

/// Longer bodies are spooled to a file, as the proxy does it.
const SPOOLED_BYTES: usize = 100_000;
/// Longer bodies may be answered before they were sent, which costs the connection.
const SENT_AT_ONCE_BYTES: usize = 100_000;

/// A request of a test.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Question {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
    pub extra: Vec<(String, String)>,
    /// Whether the client leaves when it has seen some of the answer.
    pub leaves: bool,
    /// How long it may take, in milliseconds; 0: as long as the specification says.
    pub time_ms: u64,
}

pub fn get(path: &str) -> Question {
    Question { method: "GET".into(), path: path.into(), ..Question::default() }
}

pub fn post(path: &str, body: &[u8]) -> Question {
    Question { method: "POST".into(), body: body.to_vec(), ..get(path) }
}

impl Question {
    pub fn method(self, method: &str) -> Self {
        Self { method: method.into(), ..self }
    }

    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.extra.push((key.into(), value.into()));
        self
    }

    pub fn within(self, time_ms: u64) -> Self {
        Self { time_ms, ..self }
    }

    fn deadline(&self) -> Option<Instant> {
        (self.time_ms > 0).then(|| Instant::now() + Duration::from_millis(self.time_ms))
    }

    pub fn and_leave(self) -> Self {
        Self { leaves: true, ..self }
    }

    fn request(&self) -> Request {
        let mut vars = VarsBuilder::new(VarsBuilder::MAX_BLOCK_BYTES);
        let mut push =
            |key: &str, value: &str| vars.push(key.as_bytes(), value.as_bytes()).unwrap();
        push("REQUEST_METHOD", &self.method);
        push("REQUEST_URI", &self.path);
        push("SCRIPT_NAME", "");
        push("PATH_INFO", &self.path);
        push("QUERY_STRING", "");
        push("SERVER_PROTOCOL", "HTTP/1.1");
        push("SERVER_NAME", "localhost");
        push("SERVER_PORT", "80");
        push("REMOTE_ADDR", "127.0.0.1");
        push("REQUEST_SCHEME", "https");
        push("REQUEST_ID", "req-1");
        push("HTTP_HOST", "localhost");
        if !self.body.is_empty() {
            push("CONTENT_LENGTH", &self.body.len().to_string());
        }
        for (key, value) in &self.extra {
            push(key, value);
        }
        let body = if self.body.is_empty() {
            Body::Empty
        } else if self.body.len() > SPOOLED_BYTES {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&self.body).unwrap();
            Body::File { file, size: self.body.len() as u64 }
        } else {
            Body::Memory(Bytes::from(self.body.clone()))
        };
        Request { vars: vars.finish(), body, deadline: self.deadline() }
    }
}

/// What came back, whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How many pieces the body came in.
    pub pieces: usize,
    /// Whether the body came as a file.
    pub is_handed_over: bool,
    /// Why it has no proper end.
    pub aborted: Option<String>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    async fn collect(mut stream: ResponseStream, question: &Question) -> Self {
        let latin1 = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
        let mut answer = Self::default();
        while let Some(frame) = stream.next().await {
            match frame {
                ResponseFrame::Head(head) => {
                    assert_eq!(answer.status, 0, "one head");
                    answer.status = head.status;
                    answer.reason = latin1(&head.reason);
                    answer.headers =
                        head.headers.iter().map(|(k, v)| (latin1(k), latin1(v))).collect();
                }
                ResponseFrame::Data(bytes) => {
                    answer.body.extend_from_slice(&bytes);
                    answer.pieces += 1;
                    if question.leaves {
                        break;
                    }
                }
                ResponseFrame::File(part) => {
                    let mut bytes = vec![0; usize::try_from(part.size).unwrap()];
                    part.file.read_exact_at(&mut bytes, part.offset).unwrap();
                    answer.body.extend_from_slice(&bytes);
                    answer.is_handed_over = true;
                }
                ResponseFrame::End => {}
                ResponseFrame::Aborted(reason) => {
                    answer.aborted = Some(match reason {
                        onebox_uwsgi::AbortReason::Application(text) => text,
                        other => format!("{other:?}"),
                    });
                }
            }
        }
        answer
    }
}

/// Every CPython 3.9 and newer of pyenv and of PATH, one per minor version and folder.
pub fn pythons() -> Vec<Interpreter> {
    let mut found: Vec<Interpreter> = Vec::new();
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")));
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    let mut candidates: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/python"))
        .collect();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        candidates.extend((9..14).map(|minor| folder.join(format!("python3.{minor}"))));
    }
    candidates.sort();
    for candidate in candidates {
        let Ok(python) = Interpreter::inspect(&candidate, None) else { continue };
        if !found.iter().any(|known| known.base_prefix == python.base_prefix) {
            found.push(python);
        }
    }
    assert!(!found.is_empty(), "these tests need a CPython of 3.9 or newer");
    found
}

pub fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps")
}

pub fn spec(module: &str) -> AppSpec {
    AppSpec {
        site: "test".into(),
        application: Application::Module(module.into()),
        root: apps(),
        chdir: None,
        python_path: Vec::new(),
        threads: 2,
        multiprocess: false,
        development: false,
        deadlines: Deadlines {
            harakiri: Duration::from_secs(60),
            grace: Duration::from_secs(60),
            deadlock: Duration::from_secs(600),
        },
    }
}

/// How a start ended, and the answers where it went well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Answers(Vec<Answer>),
    Failed { summary: String, traceback: String },
}

/// What an embedded child process has to do.
#[derive(Serialize, Deserialize)]
struct Errand {
    interpreter: Interpreter,
    spec: AppSpec,
    questions: Vec<Question>,
    folder: PathBuf,
    /// Instead of the questions.
    scene: Option<String>,
}

/// Serves the questions with `interpreter` embedded in a child process: its answers, and what it wrote.
///
/// The child is this test program, running the ignored test `embedded_child` alone.
pub fn embedded(
    interpreter: &Interpreter,
    spec: &AppSpec,
    questions: &[Question],
) -> (Outcome, String) {
    let (folder, log) = run_child(interpreter, spec, questions, None);
    let outcome = std::fs::read(folder.path().join("outcome.json")).unwrap();
    (serde_json::from_slice(&outcome).unwrap(), log)
}

/// Runs the child process to its end: its folder, and what it wrote.
fn run_child(
    interpreter: &Interpreter,
    spec: &AppSpec,
    questions: &[Question],
    scene: Option<&str>,
) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let errand = Errand {
        interpreter: interpreter.clone(),
        spec: spec.clone(),
        questions: questions.to_vec(),
        folder: folder.path().to_path_buf(),
        scene: scene.map(str::to_owned),
    };
    let file = folder.path().join("errand.json");
    std::fs::write(&file, serde_json::to_vec(&errand).unwrap()).unwrap();
    let log = folder.path().join("log");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded_child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ERRAND, &file)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(File::create(folder.path().join("stdout")).unwrap())
        .stderr(File::create(&log).unwrap())
        .status()
        .unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(status.success(), "the child ended with {status}: {log}");
    (folder, log)
}

/// Something that is tried both ways, with requests side by side.
pub type Play = fn(Scene);

/// Where a scene is played.
pub struct Scene {
    pub way: Way,
    notices: Receiver<Notice>,
    /// What was told so far.
    pub seen: Vec<Notice>,
}

/// How requests get to the application.
pub enum Way {
    Memory(Connector),
    Socket(PathBuf),
}

/// How long anything may take that is not measured.
const LIMIT: Duration = Duration::from_secs(60);

impl Scene {
    /// Sends a request; the answer comes on a thread of its own.
    pub fn send(&self, question: Question) -> Receiver<Answer> {
        let (sender, receiver) = mpsc::channel();
        let memory = match &self.way {
            Way::Memory(connector) => Ok(connector.clone()),
            Way::Socket(path) => Err(UnixStream::connect(path).unwrap()),
        };
        std::thread::spawn(move || {
            let answer = runtime().block_on(async {
                match memory {
                    Ok(connector) => {
                        let limits = BufferLimits::default();
                        let stream = connector.dispatch(question.request(), limits).unwrap();
                        Answer::collect(stream, &question).await
                    }
                    Err(stream) => {
                        stream.set_nonblocking(true).unwrap();
                        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
                        let (sink, response) = socket::response(BufferLimits::default());
                        let request = question.request();
                        let sending = socket::exchange(&stream, request, sink);
                        tokio::join!(sending, Answer::collect(response, &question)).1
                    }
                }
            });
            sender.send(answer).ok();
        });
        receiver
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&self, question: Question) -> Answer {
        self.send(question).recv_timeout(LIMIT).unwrap()
    }

    /// Waits for a notice.
    pub fn wait_for(&mut self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        loop {
            let notice = self.notices.recv_timeout(LIMIT);
            let notice = notice.unwrap_or_else(|_| panic!("not told in time: {:?}", self.seen));
            self.seen.push(notice.clone());
            if wanted(&notice) {
                return notice;
            }
        }
    }
}

/// Plays a scene of [`run_errand_or`] both ways.
pub fn play_both(interpreter: &Interpreter, spec: &AppSpec, scene: (&str, Play)) {
    let (name, play) = scene;
    run_child(interpreter, spec, &[], Some(name));
    let mut worker = Worker::start(interpreter, spec, &[]);
    assert_eq!(worker.report(), Some(WorkerReport::Ready), "{}", worker.log());
    let (way, notices) = (Way::Socket(worker.folder.path().join("socket")), worker.notices());
    play(Scene { way, notices, seen: Vec::new() });
}

/// The life of an embedded child process; does nothing where there is no errand.
pub fn run_errand() {
    run_errand_or(&[]);
}

/// The same for tests that play scenes.
pub fn run_errand_or(scenes: &[(&str, Play)]) {
    let Some(file) = std::env::var_os(ERRAND) else { return };
    let errand: Errand = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let library = RuntimeLibrary::install(&errand.folder.join("runtime")).unwrap();
    let (connector, backlog) = channel(100);
    let (told, notices) = mpsc::channel();
    let listener = Box::new(move |notice| told.send(notice).unwrap_or_default());
    let outcome = match embed(&errand.interpreter, &library, &errand.spec, backlog, listener) {
        Ok(_) if errand.scene.is_some() => {
            let scene = Scene { way: Way::Memory(connector), notices, seen: Vec::new() };
            let name = errand.scene.unwrap_or_default();
            let (_, play) = scenes.iter().find(|(known, _)| *known == name).unwrap();
            play(scene);
            // What it holds up does not hold up the end.
            std::process::exit(0);
        }
        Ok(embedded) => {
            let answers = ask_memory(&connector, &errand.questions);
            connector.close();
            assert!(embedded.stop(Duration::from_secs(20)), "exit handlers ended");
            Outcome::Answers(answers)
        }
        Err(onebox_app_server::StartError::Application { summary, traceback }) => {
            Outcome::Failed { summary, traceback }
        }
        Err(error) => panic!("{error}"),
    };
    std::fs::write(errand.folder.join("outcome.json"), serde_json::to_vec(&outcome).unwrap())
        .unwrap();
}

fn ask_memory(connector: &Connector, questions: &[Question]) -> Vec<Answer> {
    runtime().block_on(async {
        let mut answers = Vec::new();
        for question in questions {
            let stream = connector.dispatch(question.request(), BufferLimits::default()).unwrap();
            answers.push(Answer::collect(stream, question).await);
        }
        answers
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// An isolated worker.
pub struct Worker {
    pub child: Child,
    pub folder: tempfile::TempDir,
    status: BufReader<PipeReader>,
    life: Option<PipeWriter>,
}

impl Worker {
    pub fn start(interpreter: &Interpreter, spec: &AppSpec, env: &[(&str, &Path)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = RuntimeLibrary::install(&folder.path().join("runtime")).unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let (status, status_writer) = std::io::pipe().unwrap();
        let (life_reader, life) = std::io::pipe().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = worker_command(interpreter, &library, spec);
        command.env("PYTHONDONTWRITEBYTECODE", "1").stderr(log).envs(env.iter().copied());
        let inherited: [RawFd; 3] =
            [listener.as_raw_fd(), status_writer.as_raw_fd(), life_reader.as_raw_fd()];
        // SAFETY: between fork and exec only fcntl and dup2 are called.
        unsafe { command.pre_exec(move || hand_down(inherited)) };
        let child = command.spawn().unwrap();
        Self { child, folder, status: BufReader::new(status), life: Some(life) }
    }

    pub fn report(&mut self) -> Option<WorkerReport> {
        let mut line = String::new();
        self.status.read_line(&mut line).unwrap();
        WorkerReport::parse(&line)
    }

    /// What it says from now on.
    pub fn notices(&self) -> Receiver<Notice> {
        let lines = BufReader::new(self.status.get_ref().try_clone().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sender.send(Notice::parse(&line).unwrap()).ok();
            }
        });
        receiver
    }

    pub fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.folder.path().join("socket"))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The answers, all over one connection that stays open unless the client leaves.
    pub fn ask(&self, questions: &[Question]) -> Vec<Answer> {
        runtime().block_on(async {
            let mut open = None;
            let mut answers = Vec::new();
            for question in questions {
                let stream = match open.take() {
                    Some(stream) => stream,
                    None => self.connect_async(),
                };
                let (sink, response) = socket::response(BufferLimits::default());
                let (connection, answer) = tokio::join!(
                    socket::exchange(&stream, question.request(), sink),
                    Answer::collect(response, question)
                );
                let reusable = connection.ok() == Some(socket::Connection::Reusable);
                let may_be_spent = question.leaves || question.body.len() > SENT_AT_ONCE_BYTES;
                assert!(reusable || may_be_spent, "{}", question.path);
                open = reusable.then_some(stream);
                answers.push(answer);
            }
            answers
        })
    }

    fn connect_async(&self) -> tokio::net::UnixStream {
        let stream = self.connect().unwrap();
        stream.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(stream).unwrap()
    }

    pub fn terminate(&self) {
        // SAFETY: kill has no preconditions; the child is not yet waited for, so that the number is still its own.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
    }

    pub fn cut_life(&mut self) {
        self.life = None;
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts the descriptors at 3, 4 and 5; by way of higher numbers, as they may stand in each other's place.
fn hand_down(descriptors: [RawFd; 3]) -> std::io::Result<()> {
    let mut high = [0; 3];
    for (number, descriptor) in high.iter_mut().zip(descriptors) {
        // SAFETY: fcntl and dup2 take any numbers.
        *number = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 20) };
        if *number < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    for (target, number) in (3..).zip(high) {
        // SAFETY: as above.
        if unsafe { libc::dup2(number, target) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Serves the questions with an isolated worker: its answers, and what it wrote.
pub fn isolated(
    interpreter: &Interpreter,
    spec: &AppSpec,
    questions: &[Question],
) -> (Outcome, String) {
    let mut worker = Worker::start(interpreter, spec, &[]);
    let outcome = match worker.report() {
        Some(WorkerReport::Ready) => {
            let answers = worker.ask(questions);
            worker.terminate();
            assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
            Outcome::Answers(answers)
        }
        Some(WorkerReport::Failed { summary, traceback }) => {
            assert_eq!(worker.wait().code(), Some(1));
            Outcome::Failed { summary, traceback }
        }
        None => panic!("the worker said nothing: {}", worker.log()),
    };
    (outcome, worker.log())
}
