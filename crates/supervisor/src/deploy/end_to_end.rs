//! Whole deploys up to the plan: small sites that need no network, and the examples with their packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use onebox_config::Paths;
use tokio::sync::mpsc;

use super::archive::ArchiveLimits;
use super::error::{DeployFailure, Step};
use super::events::EventSink;
use super::plan::{Kind, RunPlan};
use super::release::{folders, staging_root};
use super::{Prepared, StageContext, prepare, receive};
use crate::api::{DeployEvent, DeployQuery};
use crate::users::SiteDefaults;

struct Box {
    state: tempfile::TempDir,
}

impl Box {
    fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap() }
    }

    fn paths(&self) -> Paths {
        Paths::new(self.state.path())
    }

    fn dir(&self, release: &Prepared) -> PathBuf {
        self.paths().releases(&release.site).join(&release.release_id)
    }

    async fn deploy(&self, folder: &Path) -> (Result<Prepared, DeployFailure>, Vec<String>) {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", folder).unwrap();
        let bytes = Bytes::from(archive.into_inner().unwrap());
        let stream = futures_util::stream::iter([Ok::<_, String>(bytes)]);
        let context = StageContext {
            ids: std::sync::Arc::new(super::ReleaseIds::behind([])),
            defaults: SiteDefaults { paths: self.paths(), user: None },
            variables: BTreeMap::new(),
            limits: ArchiveLimits::default(),
        };
        let query =
            DeployQuery { default_name: Some("My Site".to_owned()), ..DeployQuery::default() };
        let (sender, mut receiver) = mpsc::channel(10_000);
        let events = EventSink::new(sender);
        let result = match receive(&context, stream, &query, &events).await {
            Ok(release) => prepare(&context, release, &events).await,
            Err(failure) => Err(failure),
        };
        drop(events);
        let mut told = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            told.push(match event {
                DeployEvent::Step { step, text } => format!("{step}: {text}"),
                DeployEvent::Output { line } => line,
                DeployEvent::Warning { text } => format!("warning: {text}"),
                other => format!("{other:?}"),
            });
        }
        (result, told)
    }
}

fn site(files: &[(&str, &str)]) -> tempfile::TempDir {
    super::detect::tests::site(files)
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Runs Python as a release would run it.
fn python(plan: &RunPlan, script: &str) -> String {
    let output = Command::new(&plan.interpreter.as_ref().unwrap().executable)
        .args(["-c", script])
        .current_dir(&plan.root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const HELLO: &str = "def application(environ, start_response):\n    pass\n";

#[tokio::test]
async fn a_plain_wsgi_site_becomes_a_release_with_a_plan() {
    let this = Box::new();
    let folder = site(&[
        ("wsgi.py", HELLO),
        (
            "onebox.toml",
            "persist = ['data']\n[env]\nCOLOUR = 'red'\n[hooks]\nrelease = ['echo $COLOUR > data/hook']\n",
        ),
    ]);
    let (result, told) = this.deploy(folder.path()).await;
    let prepared = result.unwrap();
    assert_eq!(prepared.site, "my-site");
    let dir = this.dir(&prepared);
    assert_eq!(RunPlan::read(&dir).unwrap(), prepared.plan);
    assert_eq!(prepared.plan.kind, Kind::Wsgi);
    assert_eq!(
        python(&prepared.plan, "import sys; print(sys.prefix)"),
        dir.join("venv").display().to_string()
    );
    assert_eq!(
        fs::read_to_string(this.paths().shared("my-site").join("data/hook")).unwrap(),
        "red\n"
    );
    let steps: Vec<&str> =
        told.iter().filter_map(|line| line.split_once(": ")).map(|(step, _)| step).collect();
    assert_eq!(steps, ["copy", "detect", "install", "persist", "hooks"], "{told:?}");
    assert!(folders(&staging_root(&this.paths())).unwrap().is_empty());
}

#[tokio::test]
async fn a_static_site_needs_no_python() {
    let this = Box::new();
    let folder = site(&[("index.html", "<p>hello"), ("onebox.toml", "[env]\nSECRET = 'x'\n")]);
    let prepared = this.deploy(folder.path()).await.0.unwrap();
    assert_eq!(prepared.plan.interpreter, None);
    let (url, public) = &prepared.plan.statics[0];
    assert_eq!(url, "/");
    // The configuration lies beside it; the proxy keeps it from being served.
    assert!(public[0].join("index.html").exists());
}

#[tokio::test]
async fn what_fails_names_its_step_and_leaves_nothing() {
    type Files = &'static [(&'static str, &'static str)];
    let cases: [(Files, Step, &str); 6] = [
        (&[("README", "")], Step::Detect, "no site was recognised"),
        (&[("wsgi.py", HELLO), ("onebox.toml", "nane = 'x'\n")], Step::Detect, "mistakes"),
        (
            &[("app.py", "from flask import Flask\napp = Flask(__name__)\n")],
            Step::Install,
            "the site imports Flask",
        ),
        (
            &[("wsgi.py", HELLO), ("requirements.txt", "./nowhere\n")],
            Step::Install,
            "installing packages",
        ),
        (
            &[("wsgi.py", HELLO), ("Procfile", "release: echo no; exit 4\n")],
            Step::Hooks,
            "exit status 4",
        ),
        (&[("wsgi.py", HELLO), ("onebox.toml", "python = '3.99'\n")], Step::Detect, "3.99"),
    ];
    for (files, step, reason) in cases {
        let this = Box::new();
        let failure = this.deploy(site(files).path()).await.0.unwrap_err();
        assert_eq!(failure.step, step, "{failure}");
        assert!(failure.problem.to_string().contains(reason), "{failure}");
        assert!(folders(&this.paths().releases("my-site")).unwrap().is_empty(), "{failure}");
        assert!(folders(&staging_root(&this.paths())).unwrap().is_empty(), "{failure}");
    }
}

#[tokio::test]
#[ignore = "slow: installs Flask from the package index"]
async fn the_flask_example_keeps_its_data_and_shares_its_packages() {
    let this = Box::new();
    let (first, told) = this.deploy(&example("flask")).await;
    let first = first
        .unwrap_or_else(|failure| panic!("{failure}\n{}\n{told:#?}", failure.problem.detail()));
    assert!(
        told.contains(&"persist: Keeps uploads/ and instance/ across releases".to_owned()),
        "{told:#?}"
    );
    let shared = this.paths().shared("my-site");
    assert!(first.plan.statics.contains(&("/pictures".to_owned(), vec![shared.join("uploads")])));
    let sign = "import app, io; c = app.app.test_client()\n\
        png = (io.BytesIO(b'\\x89PNG\\r\\n\\x1a\\n....'), 'a.png')\n\
        print(c.post('/', data={'name': 'Ada', 'message': 'Hello', 'picture': png}).status_code)";
    assert_eq!(python(&first.plan, sign), "303");

    let started = Instant::now();
    let (second, told) = this.deploy(&example("flask")).await;
    let second = second.unwrap();
    assert!(told.iter().any(|line| line.starts_with("packages unchanged")), "{told:#?}");
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "the target is three seconds: {:?}",
        started.elapsed()
    );
    let read =
        "import app; c = app.app.test_client(); print('Ada' in c.get('/').text, app.app.root_path)";
    let root = this.dir(&second).join("app");
    assert_eq!(python(&second.plan, read), format!("True {}", root.display()));
    assert_eq!(fs::read_dir(shared.join("uploads")).unwrap().count(), 1);
    // The environment is its own: it does without the first release.
    fs::remove_dir_all(this.dir(&first)).unwrap();
    assert_eq!(
        python(
            &second.plan,
            "import flask; print(flask.__file__.startswith(__import__('sys').prefix))"
        ),
        "True"
    );
}

#[tokio::test]
#[ignore = "slow: installs Django from the package index"]
async fn the_django_example_is_migrated_and_collected() {
    let this = Box::new();
    let (result, told) = this.deploy(&example("django")).await;
    let prepared = result
        .unwrap_or_else(|failure| panic!("{failure}\n{}\n{told:#?}", failure.problem.detail()));
    assert!(
        told.contains(&"persist: Keeps private/, db.sqlite3 and media/ across releases".to_owned()),
        "{told:#?}"
    );
    assert!(told.contains(&"hooks: collecting static files".to_owned()), "{told:#?}");
    let shared = this.paths().shared("my-site");
    assert!(shared.join("db.sqlite3").metadata().unwrap().len() > 0);
    let (url, folders) = &prepared.plan.statics[0];
    assert_eq!((url.as_str(), folders[0].join("entries/style.css").exists()), ("/static", true));
    assert!(folders[0].join("admin/css/base.css").exists());
    assert_eq!(prepared.plan.statics[1], ("/media".to_owned(), vec![shared.join("media")]));
    assert_eq!(prepared.plan.warnings, [""; 0]);
}
