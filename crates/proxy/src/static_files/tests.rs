use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;

use super::*;
use crate::access_log::AccessLog;
use crate::exchange::Exchange;
use crate::message::{RequestHead, Response, ResponseBody};
use crate::route::{Backend, RouteTable, RoutedSite, Site, StaticMount};
use crate::testing;

struct Fixture {
    folder: tempfile::TempDir,
    routed: Arc<RoutedSite>,
    files: StaticFiles,
}

/// A site with an application and its files below `/static`.
fn application(files: &[(&str, &str)]) -> Fixture {
    fixture("/static", Backend::Stopped, files)
}

/// A site of files alone.
fn static_site(files: &[(&str, &str)]) -> Fixture {
    fixture("/", Backend::None, files)
}

fn fixture(url: &str, backend: Backend, files: &[(&str, &str)]) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    let mount = StaticMount { url: url.into(), folders: vec![folder.path().into()] };
    let index = matches!(backend, Backend::None);
    let statics = vec![mount];
    let site = Site { catch_all: true, statics, index, backend, ..testing::site("a") };
    let routed = Arc::clone(RouteTable::new(vec![site]).site(None, b"/").unwrap());
    Fixture { folder, routed, files: StaticFiles::default() }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

impl Fixture {
    async fn ask(&self, head: &RequestHead) -> Result<Option<Response>, u16> {
        let mut exchange = Exchange::begin(head, &testing::connection(), &AccessLog::disabled());
        let path = crate::path::decode(&head.path).map_err(|error| error.status())?;
        let answer = self.files.answer(&self.routed, head, &path, &mut exchange).await;
        answer.map_err(|error| error.status())
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let head = testing::get(target, headers);
        self.ask(&head).await.unwrap().unwrap_or_else(|| panic!("no file at {target}"))
    }

    /// The status, or 0 where the application is asked.
    async fn status(&self, target: &str) -> u16 {
        match self.ask(&testing::get(target, &[])).await {
            Ok(Some(response)) => response.status,
            Ok(None) => 0,
            Err(status) => status,
        }
    }
}

async fn text(response: Response) -> String {
    String::from_utf8(testing::body(response).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_file_is_answered_with_type_and_validators() {
    let site = application(&[("css/a.css", "body{}")]);
    let response = site.get("/static/css/a.css", &[]).await;
    assert_eq!(response.status, 200);
    let header = |name| testing::header(&response, name);
    assert_eq!(header("content-type").as_deref(), Some("text/css; charset=utf-8"));
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!(header("accept-ranges").as_deref(), Some("bytes"));
    assert!(header("etag").is_some_and(|etag| etag.starts_with('"')));
    assert!(header("last-modified").is_some_and(|date| date.ends_with("GMT")));
    assert_eq!(header("cache-control"), None);
    assert_eq!(text(response).await, "body{}");
}

#[tokio::test]
async fn what_is_no_file_is_the_applications() {
    let site = application(&[("a.css", "a"), ("folder/b.css", "b")]);
    for target in [
        "/",
        "/other",
        "/static",
        "/static/",
        "/static/none",
        "/static/folder",
        "/static/folder/",
        "/staticx",
    ] {
        assert_eq!(site.status(target).await, 0, "{target}");
    }
    let post = testing::request(Method::POST, "/static/none", &[]);
    assert!(site.ask(&post).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_never_served_is_not_found() {
    let site = application(&[("a.css", "a"), (".env", "secret"), ("b/.git/config", "secret")]);
    write(site.folder.path().parent().unwrap(), "outside.txt", "outside");
    let targets = [
        "/static/.env",
        "/static/%2eenv",
        "/static/b/.git/config",
        "/static/../outside.txt",
        "/static/%2e%2e/outside.txt",
        "/static/..%2foutside.txt",
        "/static/%2e%2e%2foutside.txt",
        "/static/b/../a.css",
        "/static/./a.css",
        "/static//a.css",
        "/static/..%5coutside.txt",
        "/static/b%2f..%2fa.css",
    ];
    for target in targets {
        assert_eq!(site.status(target).await, 404, "{target}");
    }
    for target in ["/static/a.css%00", "/static/%zz"] {
        assert_eq!(site.status(target).await, 400, "{target}");
    }
    // Decoded once: this is a name with a percent sign.
    assert_eq!(site.status("/static/%252e%252e/outside.txt").await, 0);
}

#[tokio::test]
async fn a_static_sites_own_configuration_is_not_served() {
    let site =
        static_site(&[("index.html", "i"), ("onebox.toml", "secret"), ("Procfile", "web: x")]);
    for target in ["/onebox.toml", "/%6fnebox.toml", "/Procfile", "/onebox.toml/"] {
        assert_eq!(site.status(target).await, 404, "{target}");
    }
    assert_eq!(site.status("/").await, 200);
}

#[tokio::test]
async fn a_file_is_only_read() {
    let site = application(&[("a.css", "a")]);
    let response = site.ask(&testing::request(Method::POST, "/static/a.css", &[])).await;
    let response = response.unwrap().unwrap();
    assert_eq!(response.status, 405);
    assert_eq!(testing::header(&response, "allow").as_deref(), Some("GET, HEAD"));
}

#[tokio::test]
async fn an_unchanged_file_is_a_304_with_its_validators() {
    let site = application(&[("a.css", "a")]);
    let first = site.get("/static/a.css", &[]).await;
    let etag = testing::header(&first, "etag").unwrap();
    let modified = testing::header(&first, "last-modified").unwrap();
    for condition in [("if-none-match", etag.as_str()), ("if-modified-since", modified.as_str())] {
        let response = site.get("/static/a.css", &[condition]).await;
        assert_eq!(response.status, 304);
        assert_eq!(testing::header(&response, "etag").as_deref(), Some(etag.as_str()));
        assert!(matches!(response.body, ResponseBody::Empty));
    }
    assert_eq!(site.get("/static/a.css", &[("if-match", "\"other\"")]).await.status, 412);
}

#[tokio::test]
async fn one_range_is_a_part_and_several_come_together() {
    let site = application(&[("a.txt", "0123456789")]);
    let part = site.get("/static/a.txt", &[("range", "bytes=2-4")]).await;
    assert_eq!(part.status, 206);
    assert_eq!(testing::header(&part, "content-range").as_deref(), Some("bytes 2-4/10"));
    assert_eq!(text(part).await, "234");
    write(site.folder.path(), "a.bin", &"0123456789".repeat(100_000));
    for (path, total) in [("/static/a.txt", 10), ("/static/a.bin", 1_000_000)] {
        let several = site.get(path, &[("range", "bytes=0-1,-3")]).await;
        assert_eq!(several.status, 206);
        let kind = testing::header(&several, "content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let ResponseBody::Stream { size: Some(size), .. } = several.body else { panic!() };
        let body = text(several).await;
        assert_eq!(body.len() as u64, size);
        let (start, last) = (total - 3, total - 1);
        let parts: Vec<_> = body.split(&format!("\r\n--{boundary}")).collect();
        let [_, first, second, "--\r\n"] = parts.as_slice() else { panic!("{body}") };
        assert!(
            first.ends_with(&format!("\r\nContent-Range: bytes 0-1/{total}\r\n\r\n01")),
            "{first}"
        );
        assert!(second.ends_with(&format!("bytes {start}-{last}/{total}\r\n\r\n789")), "{second}");
    }
    let large = site.get("/static/a.bin", &[("range", "bytes=0-0,5-599999")]).await;
    assert!(text(large).await.contains(&"5678901234".repeat(59_999)));
    let whole = site.get("/static/a.txt", &[("range", "bytes=0-,1-")]).await;
    assert_eq!((whole.status, text(whole).await.as_str()), (200, "0123456789"));
    let none = site.get("/static/a.txt", &[("range", "bytes=10-")]).await;
    assert_eq!(none.status, 416);
    assert_eq!(testing::header(&none, "content-range").as_deref(), Some("bytes */10"));
    let stale = site.get("/static/a.txt", &[("range", "bytes=2-4"), ("if-range", "\"x\"")]).await;
    assert_eq!(stale.status, 200);
    let head = testing::request(Method::HEAD, "/static/a.txt", &[("range", "bytes=2-4")]);
    assert_eq!(site.ask(&head).await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn what_was_compressed_before_is_preferred_and_followed() {
    let original = "body{}".repeat(1000);
    let site =
        application(&[("a.css", &original), ("a.css.gz", "made before"), ("a.css.br", "brotli")]);
    let any = [("accept-encoding", "gzip, br, zstd")];
    let coded = async |accepted: &str| {
        let response = site.get("/static/a.css", &[("accept-encoding", accepted)]).await;
        let coding = testing::header(&response, "content-encoding").unwrap_or_default();
        let kind = testing::header(&response, "content-type").unwrap();
        assert_eq!(kind, "text/css; charset=utf-8");
        let vary = testing::header(&response, "vary");
        assert_eq!(vary.as_deref(), Some("Accept-Encoding"));
        (coding, testing::body(response).await.unwrap())
    };
    assert_eq!(coded("gzip, br, zstd").await, ("br".into(), b"brotli".to_vec()));
    assert_eq!(coded("gzip").await, ("gzip".into(), b"made before".to_vec()));
    assert_eq!(coded("identity").await, (String::new(), original.clone().into_bytes()));
    let (coding, made_here) = coded("zstd").await;
    assert!(coding == "zstd" && made_here.len() < original.len());
    let first = testing::header(&site.get("/static/a.css", &any).await, "etag").unwrap();

    // One is rewritten, the other goes.
    write(site.folder.path(), "a.css.br", "another brotli");
    std::fs::remove_file(site.folder.path().join("a.css.gz")).unwrap();
    site.files.memory.distrust();
    assert_eq!(coded("br").await, ("br".into(), b"another brotli".to_vec()));
    assert_ne!(testing::header(&site.get("/static/a.css", &any).await, "etag").unwrap(), first);
    assert_ne!(coded("gzip").await.1, b"made before");

    // The file itself is newer now: what lies beside it is of its past.
    let newer = SystemTime::now() + Duration::from_secs(10);
    let path = write(site.folder.path(), "a.css", &"p{}".repeat(1000));
    std::fs::File::options().write(true).open(path).unwrap().set_modified(newer).unwrap();
    site.files.memory.distrust();
    assert_ne!(coded("br").await.1, b"another brotli");
}

#[tokio::test]
async fn a_large_file_that_changes_is_opened_anew() {
    let site = application(&[]);
    write(site.folder.path(), "a.bin", &"a".repeat(1 << 20));
    for _ in 0..2 {
        assert!(text(site.get("/static/a.bin", &[]).await).await.starts_with('a'));
    }
    let other = write(site.folder.path(), "other", &"b".repeat(1 << 20));
    std::fs::rename(other, site.folder.path().join("a.bin")).unwrap();
    site.files.memory.distrust();
    assert!(text(site.get("/static/a.bin", &[]).await).await.starts_with('b'));
    std::fs::remove_file(site.folder.path().join("a.bin")).unwrap();
    site.files.memory.distrust();
    assert_eq!(site.status("/static/a.bin").await, 0);
}

#[tokio::test]
async fn a_large_file_is_sent_from_the_disk() {
    let site = application(&[]);
    write(site.folder.path(), "a.bin", &"0123456789".repeat(100_000));
    let response = site.get("/static/a.bin", &[("range", "bytes=999990-")]).await;
    assert!(matches!(response.body, ResponseBody::File { offset: 999_990, size: 10, .. }));
    assert_eq!(text(response).await, "0123456789");
}

#[tokio::test]
async fn an_empty_file_is_an_empty_answer() {
    let site = application(&[("a.txt", "")]);
    let response = site.get("/static/a.txt", &[]).await;
    assert_eq!(response.status, 200);
    assert!(matches!(response.body, ResponseBody::Empty));
}

#[tokio::test]
async fn each_coding_has_its_own_validator() {
    let site = application(&[]);
    write(site.folder.path(), "a.js", &"let a = 1;\n".repeat(500));
    let plain = site.get("/static/a.js", &[]).await;
    assert_eq!(testing::header(&plain, "vary").as_deref(), Some("Accept-Encoding"));
    let mut tags = vec![testing::header(&plain, "etag").unwrap()];
    for coding in ["gzip", "br", "zstd"] {
        let response = site.get("/static/a.js", &[("accept-encoding", coding)]).await;
        assert_eq!(testing::header(&response, "content-encoding").as_deref(), Some(coding));
        assert_eq!(testing::header(&response, "accept-ranges"), None);
        let etag = testing::header(&response, "etag").unwrap();
        assert!(testing::body(response).await.unwrap().len() < 500);
        let again = [("accept-encoding", coding), ("if-none-match", etag.as_str())];
        assert_eq!(site.get("/static/a.js", &again).await.status, 304);
        tags.push(etag);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4);
    let part = [("accept-encoding", "gzip"), ("range", "bytes=0-2")];
    assert_eq!(text(site.get("/static/a.js", &part).await).await, "let");
}

#[tokio::test]
async fn a_hashed_name_is_kept_forever() {
    let site = application(&[("base.0123456789ab.css", "a")]);
    let response = site.get("/static/base.0123456789ab.css", &[]).await;
    let expected = "public, max-age=31536000, immutable";
    assert_eq!(testing::header(&response, "cache-control").as_deref(), Some(expected));
}

#[tokio::test]
async fn a_change_is_seen_when_the_file_is_checked_again() {
    let site = application(&[("a.txt", "one")]);
    assert_eq!(text(site.get("/static/a.txt", &[]).await).await, "one");
    let path = write(site.folder.path(), "a.txt", "two");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();
    site.files.memory.distrust();
    assert_eq!(text(site.get("/static/a.txt", &[]).await).await, "two");
    std::fs::remove_file(path).unwrap();
    site.files.memory.distrust();
    assert_eq!(site.status("/static/a.txt").await, 0);
}

#[tokio::test]
async fn a_static_site_has_indexes_redirects_and_its_own_404() {
    let files = [("index.html", "home"), ("docs/index.html", "docs"), ("404.html", "lost")];
    let site = static_site(&files);
    assert_eq!(text(site.get("/", &[]).await).await, "home");
    assert_eq!(text(site.get("/docs/", &[]).await).await, "docs");
    let redirect = site.get("/docs?a=b", &[]).await;
    assert_eq!(redirect.status, 301);
    assert_eq!(testing::header(&redirect, "location").as_deref(), Some("/docs/?a=b"));
    for target in ["/none", "/none/", "/.hidden", "/docs/../index.html"] {
        let lost = site.get(target, &[]).await;
        assert_eq!((lost.status, text(lost).await.as_str()), (404, "lost"), "{target}");
    }
}

#[tokio::test]
async fn a_redirect_never_leads_to_another_host() {
    let site = static_site(&[("evil.example/index.html", "x")]);
    assert_eq!(site.status("//evil.example").await, 404);
    assert_eq!(site.status("/%2fevil.example").await, 404);
}

#[tokio::test]
async fn a_static_site_without_a_404_page_has_a_plain_one() {
    let site = static_site(&[("index.html", "home")]);
    assert_eq!(site.status("/none").await, 404);
}

#[tokio::test]
async fn a_mount_at_the_root_leaves_hidden_paths_to_the_application() {
    let site = fixture("/", Backend::Stopped, &[("robots.txt", "x"), (".env", "secret")]);
    assert_eq!(site.status("/robots.txt").await, 200);
    assert_eq!(site.status("/.well-known/security.txt").await, 0);
    assert_eq!(site.status("/.env").await, 0);
    assert_eq!(site.status("/").await, 0);
}
