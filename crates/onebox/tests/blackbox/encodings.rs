//! Texts that are not ASCII: in locales, names of files and folders, paths, fields, variables and log lines.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use http::{HeaderValue, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Connection, SiteFolder, TestBox, get, onebox, run};

/// What servers have: nothing, C, and a locale that came with an ssh session and is not installed.
const LOCALES: [&[(&str, &str)]; 5] = [
    &[],
    &[("LC_ALL", "C")],
    &[("LC_ALL", "POSIX")],
    &[("LC_ALL", "C.UTF-8")],
    &[("LC_ALL", "xx_XX.UTF-8")],
];

/// A name that no text in UTF-8 is.
const NO_TEXT: &[u8] = b"m\xfcsli";

fn speak(command: &mut Command, locale: &[(&str, &str)]) {
    for name in ["LANG", "LC_ALL", "LC_CTYPE"] {
        command.env_remove(name);
    }
    command.envs(locale.iter().copied());
}

fn site() -> SiteFolder {
    let site = SiteFolder::fixture_as("encodings", "müsli");
    site.write("größe.py", "def überlauf():\n    raise ValueError('Überlauf: 日本')\n");
    site
}

#[test]
fn python_has_the_encodings_of_a_plain_one_in_utf_8_whatever_the_locale() {
    let site = site();
    let mut plain = Command::new("python3");
    plain.arg(site.path().join("app.py")).stdin(Stdio::null());
    speak(&mut plain, &[("LC_ALL", "C.UTF-8")]);
    let expected = run(plain).ok().json();
    assert_eq!(expected["file names"], json!(["utf-8", "surrogateescape"]));
    for isolation in ["embedded", "process"] {
        site.write("onebox.toml", &format!("isolation = \"{isolation}\"\n"));
        for locale in LOCALES {
            let mut served =
                TestBox::run_in_place_with(site.path(), &[], |command| speak(command, locale));
            let said = json_of(&get(served.http, "localhost", "/"));
            assert_eq!(said["encodings"], expected, "{isolation} {locale:?}");
            assert_eq!(said["files"], json!(["größe.py"]), "{isolation} {locale:?}");
            assert_eq!(get(served.http, "localhost", "/raise").status, 500);
            served.signal(rustix::process::Signal::TERM);
            assert_eq!(served.wait(), 0);
            for text in [
                "geschrieben: Grüße 日本",
                "geklagt: Grüße 日本",
                "gemeldet: Grüße 日本",
                "kein UTF-8: \u{fffd}",
                "größe.py\", line 2, in überlauf",
                "ValueError: Überlauf: 日本",
            ] {
                let lines = served.said();
                assert!(lines.contains(text), "{isolation} {locale:?}: {text} in\n{lines}");
            }
        }
    }
}

#[test]
fn bytes_of_paths_queries_and_fields_reach_python_and_come_back() {
    let site = site();
    let mut answers = Vec::new();
    for isolation in ["embedded", "process"] {
        site.write("onebox.toml", &format!("isolation = \"{isolation}\"\n"));
        let served = TestBox::run_in_place(site.path(), &[]);
        let mut connection = Connection::open(served.http, "localhost").unwrap();
        let request = Request::get("/stra%C3%9Fe%FF?q=%C3%A4&q=%FF")
            .header("x-name", HeaderValue::from_bytes("Grüße \u{fffd}".as_bytes()).unwrap())
            .body(bytes::Bytes::new());
        let answer = connection.send(request.unwrap()).unwrap();
        let said = json_of(&answer);
        // PEP 3333, "Unicode Issues": each byte is a character of latin-1.
        assert_eq!(said["path"], "/stra\u{c3}\u{9f}e\u{ff}");
        assert_eq!(said["query"], "q=%C3%A4&q=%FF");
        assert_eq!(said["header"], "Gr\u{c3}\u{bc}\u{c3}\u{9f}e \u{ef}\u{bf}\u{bd}");
        assert_eq!(answer.headers["x-name"].as_bytes(), "Grüße".as_bytes());
        assert_eq!(answer.headers["x-latin"].as_bytes(), b"\xfc");
        answers.push(answer.body);
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_site_with_foreign_names_is_deployed_where_the_locale_is_c() {
    let c = |command: &mut Command| speak(command, &[("LC_ALL", "C")]);
    let appliance = TestBox::start_with(c);
    let cli = |arguments: &[&str]| {
        let mut command = appliance.command(arguments);
        c(&mut command);
        run(command)
    };
    let site = site();
    site.write("onebox.toml", "[static]\n\"/dateien\" = \"öffentlich\"\n");
    site.write("öffentlich/straße.css", "p{}");
    fs::write(site.path().join("öffentlich").join(OsStr::from_bytes(NO_TEXT)), "bytes").unwrap();
    let folder = site.path().to_str().unwrap();
    let events = cli(&["deploy", folder, "--json"]).ok().json_lines();
    assert_eq!(events.last().unwrap()["site"], "m-sli", "{events:?}");

    let style = get(appliance.http, "localhost", "/dateien/stra%C3%9Fe.css");
    assert_eq!((style.status.as_u16(), &*style.text()), (200, "p{}"));
    assert!(style.header("content-type").starts_with("text/css"), "{:?}", style.headers);
    assert_eq!(get(appliance.http, "localhost", "/dateien/m%FCsli").text(), "bytes");

    cli(&["env", "set", "m-sli", "GRUSS=Grüße 日本"]).ok();
    let said = json_of(&get(appliance.http, "localhost", "/"));
    assert_eq!(said["variable"], "Grüße 日本");
    assert_eq!(said["files"], json!(["größe.py", "öffentlich"]));
    let shown = cli(&["env", "list", "m-sli", "--show"]).ok().stdout;
    assert!(shown.contains("Grüße 日本"), "{shown}");
    assert_eq!(get(appliance.http, "localhost", "/raise").status, 500);

    // A stop ends what writes the log, so that all of it is there.
    cli(&["stop", "m-sli"]).ok();
    let lines = cli(&["logs", "m-sli"]).ok().stdout;
    for text in ["geschrieben: Grüße 日本", "kein UTF-8: \u{fffd}", "ValueError: Überlauf: 日本"]
    {
        assert!(lines.contains(text), "{text} in\n{lines}");
    }
    let lines = cli(&["logs", "m-sli", "--json"]).ok().json_lines();
    assert!(lines.iter().any(|line| line["text"] == "geklagt: Grüße 日本"), "{lines:?}");
}

#[test]
fn a_folder_whose_name_is_no_text_is_deployed_and_not_run_in_place() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(OsStr::from_bytes(NO_TEXT));
    fs::rename(SiteFolder::fixture("hello").path(), &folder).unwrap();
    let mut in_place = onebox();
    in_place.arg("run").arg(&folder).args(["--http", "127.0.0.1:0"]);
    in_place.env("ONEBOX_STATE_DIR", parent.path().join("state"));
    in_place.env("ONEBOX_CONFIG_DIR", parent.path());
    let refused = run(in_place).failed();
    assert!(refused.stderr.contains("is not UTF-8"), "{}", refused.stderr);

    let appliance = TestBox::start();
    let mut deploy = appliance.command(&["deploy"]);
    deploy.arg(&folder);
    run(deploy).ok();
    assert_eq!(get(appliance.http, "localhost", "/").status, 200);
    assert_eq!(appliance.site("m-sli")["state"], "running");
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}
