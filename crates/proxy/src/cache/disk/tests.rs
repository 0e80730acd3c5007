use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use onebox_config::site::CacheRules;

use super::super::directives::RequestDirectives;
use super::super::{Came, Settings, storable};
use super::*;
use crate::compress::Coding;
use crate::message::{Response, ResponseBody};
use crate::testing;

const PATIENCE: Duration = Duration::from_secs(60);
const SIZE: u64 = 64 << 20;

/// Waits for what a thread does.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn key(path: &str) -> Key {
    Key::of(&testing::get(path, &[("host", "a.example")]), &testing::connection())
}

fn stored(request: &RequestHead, headers: &[(&str, &str)], body: &[u8]) -> Arc<Stored> {
    let all = [&[("Cache-Control", "max-age=600")], headers].concat();
    let all = all.iter().map(|(name, value)| {
        (
            bytes::Bytes::copy_from_slice(name.as_bytes()),
            bytes::Bytes::copy_from_slice(value.as_bytes()),
        )
    });
    let body = ResponseBody::Full(bytes::Bytes::copy_from_slice(body));
    let answer = Response::new(200, all.collect(), body);
    let settings =
        Settings::of(&CacheRules { enabled: Some(true), ..CacheRules::default() }).unwrap();
    let came = Came { asked_at: Instant::now(), at: Instant::now(), date: SystemTime::now() };
    let asked = RequestDirectives::default();
    let storable = storable(request, &asked, &answer, came, &settings).unwrap();
    Arc::new(storable.stored(&answer, came))
}

fn simple(body: &str) -> Arc<Stored> {
    stored(&testing::get("/", &[]), &[], body.as_bytes())
}

fn open(folder: &Path) -> Arc<Disk> {
    let disk = Disk::open(folder.join("site/r1"), SIZE);
    until("all files are in the index", || disk.taken_out.lock().is_none());
    disk
}

/// Stores these, waits until they are written, and leaves the folder.
fn write(folder: &Path, answers: &[(&str, Arc<Stored>)]) {
    let disk = open(folder);
    for (path, stored) in answers {
        disk.put(&key(path), stored);
    }
    let any = testing::get("/", &[]);
    for (path, _) in answers {
        until("it is written", || disk.find(&key(path), &any).is_some());
    }
    leave(&disk);
}

/// Closes it, and waits until its thread is gone.
fn leave(disk: &Arc<Disk>) {
    disk.close();
    let lock = disk.folder.with_file_name("lock");
    until("the thread ends", || File::open(&lock).unwrap().try_lock().is_ok());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("site/r1")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn text(disk: &Disk, path: &str) -> Option<String> {
    text_for(disk, path, &testing::get("/", &[]))
}

fn text_for(disk: &Disk, path: &str, head: &RequestHead) -> Option<String> {
    let on_disk = disk.find(&key(path), head)?;
    let stored = disk.load(&key(path), &on_disk, |_| false)?;
    Some(String::from_utf8(stored.whole_body().unwrap().to_vec()).unwrap())
}

#[test]
fn an_answer_outlives_its_process_and_gets_older_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let request = testing::get("/", &[("accept-language", "de")]);
    let headers = [
        ("Vary", "Accept-Language, X-None"),
        ("Cache-Tag", "a, b"),
        ("ETag", "\"x\""),
        ("Content-Type", "text/plain"),
        ("X-\u{e4}", "\u{ff}"),
        ("Cache-Control", "stale-if-error=7, must-revalidate"),
    ];
    let answer = stored(&request, &headers, &b"body ".repeat(1000));
    let mut old = Stored::clone(&answer);
    old.terms = Terms { age_then: Duration::from_secs(100), ..old.terms };
    let answer = Arc::new(old);
    let disk = open(folder.path());
    disk.put(&key("/"), &answer);
    until("it is written", || disk.find(&key("/"), &request).is_some());
    assert!(disk.find(&key("/"), &testing::get("/", &[("accept-language", "en")])).is_none());
    assert!(disk.find(&key("/other"), &request).is_none());
    leave(&disk);

    let disk = open(folder.path());
    let on_disk = disk.find(&key("/"), &request).unwrap();
    let read = disk.load(&key("/"), &on_disk, |_| false).unwrap();
    let written = |stored: &Stored| {
        let mut out = Writer::default();
        stored.write(&mut out);
        // Without the clock and the age.
        let mut all = out.into_bytes();
        all.drain(32..48);
        all
    };
    assert_eq!(written(&read), written(&answer));
    assert_eq!(read.whole_body(), answer.whole_body());
    let age = read.terms.age(Instant::now());
    assert!((100..100 + PATIENCE.as_secs()).contains(&age.as_secs()), "{age:?}");
    assert_eq!(
        read.terms.age(Instant::now() + Duration::from_secs(5)).as_secs(),
        age.as_secs() + 5
    );
}

#[test]
fn files_and_folders_are_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("/", simple("a"))]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let site = folder.path().join("site");
    assert_eq!((mode(&site), mode(&site.join("r1"))), (0o700, 0o700));
    assert_eq!(mode(&site.join("lock")), 0o600);
    let files = files(folder.path());
    assert_eq!(files.iter().map(|file| mode(file)).collect::<Vec<_>>(), [0o600]);
}

#[test]
fn what_is_not_what_was_written_is_a_miss_and_is_removed() {
    let head = 32..200_usize;
    type Damage = fn(&mut Vec<u8>);
    let table: [(&str, Damage); 9] = [
        ("it is empty", |bytes| bytes.clear()),
        ("it ends in its prefix", |bytes| bytes.truncate(20)),
        ("it ends in its head", |bytes| bytes.truncate(60)),
        ("its body is short", |bytes| bytes.truncate(bytes.len() - 1)),
        ("its body is long", |bytes| bytes.push(0)),
        ("it is something else", |bytes| bytes.fill(b'a')),
        ("it is of another version", |bytes| bytes[7] += 1),
        ("its head is as large as can be said", |bytes| bytes[8..12].fill(0xff)),
        ("its body is as large as can be said", |bytes| bytes[16..24].fill(0xff)),
    ];
    let every_byte_of_the_head: Vec<_> = head.step_by(13).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    let mut damaged = |what: &str, damage: &dyn Fn(&mut Vec<u8>)| {
        seen += 1;
        write(folder.path(), &[("/a", simple("first"))]);
        let file = files(folder.path()).remove(0);
        let mut bytes = fs::read(&file).unwrap();
        damage(&mut bytes);
        fs::write(&file, bytes).unwrap();
        write(folder.path(), &[("/b", simple("second"))]);
        let disk = open(folder.path());
        assert_eq!(text(&disk, "/a"), None, "{what}");
        assert_eq!(text(&disk, "/b").as_deref(), Some("second"), "{what}");
        assert_eq!(files(folder.path()).len(), 1, "{what}");
        disk.remove(&key("/b"), |_| true);
        leave(&disk);
        assert!(files(folder.path()).is_empty());
    };
    for (what, damage) in table {
        damaged(what, &damage);
    }
    for at in every_byte_of_the_head {
        damaged(&format!("byte {at} is another"), &|bytes| bytes[at] ^= 1);
    }
    assert_eq!(seen, 9 + 13);
}

#[test]
fn a_body_that_was_lost_with_the_power_is_noticed_when_it_is_read_large_or_small() {
    let folder = tempfile::tempdir().unwrap();
    for (size, may_stay) in [(10, false), (10, true), (300 << 10, false), (300 << 10, true)] {
        write(folder.path(), &[("/", simple(&"a".repeat(size)))]);
        let file = files(folder.path()).remove(0);
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() = 0;
        fs::write(&file, bytes).unwrap();
        let disk = open(folder.path());
        let on_disk = disk.find(&key("/"), &testing::get("/", &[])).unwrap();
        assert!(disk.load(&key("/"), &on_disk, |_| may_stay).is_none(), "{size} {may_stay}");
        assert!(disk.find(&key("/"), &testing::get("/", &[])).is_none());
        until("it is removed", || files(folder.path()).is_empty());
        leave(&disk);
    }
}

#[tokio::test]
async fn a_large_body_stays_in_its_file_as_a_whole_and_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let body = "0123456789".repeat(30 << 10);
    write(folder.path(), &[("/", simple(&body))]);
    let disk = open(folder.path());
    let on_disk = disk.find(&key("/"), &testing::get("/", &[])).unwrap();
    let stored = disk.load(&key("/"), &on_disk, |_| true).unwrap();
    assert_eq!((stored.whole_body(), stored.body_bytes()), (None, body.len() as u64));
    for (range, expected) in [("", &body[..]), ("bytes=5-14", &body[5..15]), ("bytes=-3", "789")] {
        let headers = [("range", range)];
        let head = testing::get("/", if range.is_empty() { &[] } else { &headers });
        let coded = stored.coded_already(Coding::Gzip).unwrap();
        let ResponseBody::File { file, offset, size } = stored.response(&head, coded, None).body
        else {
            panic!("{range} is not sent from the file")
        };
        let mut sent = vec![0; usize::try_from(size).unwrap()];
        std::os::unix::fs::FileExt::read_exact_at(&*file, &mut sent, offset).unwrap();
        assert!(sent == expected.as_bytes(), "{range}");
    }
}

#[test]
fn the_newest_answer_to_the_same_request_counts_and_the_other_file_goes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("/", simple("first"))]);
    let first = files(folder.path()).remove(0);
    let copy = fs::read(&first).unwrap();
    let disk = open(folder.path());
    disk.put(&key("/"), &simple("second"));
    until("the first is removed", || !first.exists());
    leave(&disk);
    // As if the process had ended before that.
    fs::write(&first, copy).unwrap();
    let disk = open(folder.path());
    assert_eq!(text(&disk, "/").as_deref(), Some("second"));
    assert!(!first.exists());
}

#[test]
fn answers_that_depend_on_something_stand_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let requests = ["de", "en"].map(|language| testing::get("/", &[("accept-language", language)]));
    for (request, body) in requests.iter().zip(["Ja", "Yes"]) {
        disk.put(&key("/"), &stored(request, &[("Vary", "Accept-Language")], body.as_bytes()));
        until("it is written", || disk.find(&key("/"), request).is_some());
    }
    leave(&disk);
    let disk = open(folder.path());
    let [german, english] = &requests;
    assert_eq!(text_for(&disk, "/", german).as_deref(), Some("Ja"));
    assert_eq!(text_for(&disk, "/", english).as_deref(), Some("Yes"));
    assert_eq!(text(&disk, "/"), None);
    assert_eq!(disk.remove(&key("/"), |file| file.selection.matches(german)).len(), 1);
    assert_eq!(text_for(&disk, "/", german), None);
    assert_eq!(text_for(&disk, "/", english).as_deref(), Some("Yes"));
}

#[test]
fn files_never_take_more_than_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let size = 1 << 20;
    let body = "a".repeat(100_000);
    let on_disk = || {
        let sizes = files(folder.path()).into_iter().filter_map(|file| fs::metadata(file).ok());
        sizes.map(|file| file.len()).sum::<u64>()
    };
    let disk = Disk::open(folder.path().join("site/r1"), size);
    for number in 0..100 {
        let path = format!("/{number}");
        disk.put(&key(&path), &simple(&body));
        assert!(disk.size_bytes() <= size);
    }
    until("what is too much is removed", || {
        disk.work.is_idle() && on_disk() <= size && files(folder.path()).len() > 5
    });
    leave(&disk);
    // With a smaller bound there is room for fewer of them.
    let disk = Disk::open(folder.path().join("site/r1"), size / 4);
    until("all files are in the index", || disk.taken_out.lock().is_none());
    until("what is too much is removed", || disk.work.is_idle() && on_disk() <= size / 4);
    assert!(disk.size_bytes() > 0);
}

#[test]
fn an_answer_for_which_there_is_no_room_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path().join("site/r1"), 64 << 10);
    disk.put(&key("/large"), &simple(&"a".repeat(100_000)));
    disk.put(&key("/small"), &simple("a"));
    until("it is written", || disk.find(&key("/small"), &testing::get("/", &[])).is_some());
    until("all is done", || disk.is_idle());
    assert!(disk.find(&key("/large"), &testing::get("/", &[])).is_none());
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn the_folder_is_one_caches_and_what_another_takes_out_meanwhile_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let second = Disk::open(folder.path().join("site/r1"), SIZE);
    let tagged = stored(&testing::get("/", &[]), &[("Cache-Tag", "x")], b"tagged");
    for (path, stored) in
        [("/a", &simple("a")), ("/b", &simple("b")), ("/c", &tagged), ("/d/1", &simple("d"))]
    {
        first.put(&key(path), stored);
        until("it is written", || first.find(&key(path), &testing::get("/", &[])).is_some());
    }
    assert!(second.find(&key("/a"), &testing::get("/", &[])).is_none());
    assert!(second.remove(&key("/b"), |_| true).is_empty());
    for what in [Purge::Tag("x".into()), Purge::Prefix("/d".into())] {
        assert!(second.begin_purge(&what).is_empty());
    }
    second.put(&key("/e"), &simple("e"));
    first.close();
    until("all files are in the index", || second.taken_out.lock().is_none());
    until("what waited is written", || second.find(&key("/e"), &testing::get("/", &[])).is_some());
    let found = ["/a", "/b", "/c", "/d/1", "/e"].map(|path| text(&second, path));
    assert_eq!(found, [Some("a".into()), None, None, None, Some("e".into())]);
    // It is closed, and stores nothing more.
    first.put(&key("/f"), &simple("f"));
    assert!(first.find(&key("/f"), &testing::get("/", &[])).is_none());
    assert_eq!(files(folder.path()).len(), 2);
}

#[tokio::test]
async fn what_is_taken_out_is_on_no_disk_when_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for number in 0..50 {
        disk.put(&key(&format!("/{number}")), &simple("a"));
    }
    let keys = disk.begin_purge(&Purge::All);
    assert_eq!(keys.len(), 50);
    for key in &keys {
        assert_eq!(disk.remove(key, |_| true).len(), 1);
    }
    disk.settled().await;
    until("what was being written is gone", || disk.work.is_idle());
    assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
    assert_eq!(disk.size_bytes(), 0);
}

#[test]
fn answers_of_other_releases_go() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("/", simple("first"))]);
    let next = Disk::open(folder.path().join("site/r2"), SIZE);
    until("all files are in the index", || next.taken_out.lock().is_none());
    assert!(next.find(&key("/"), &testing::get("/", &[])).is_none());
    assert!(!folder.path().join("site/r1").exists());
}

#[test]
fn what_a_site_does_not_want_any_more_goes_when_nobody_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    write(folder.path(), &[("/", simple("first"))]);
    let using = open(folder.path());
    let given_up = Clearing::begin(site.clone());
    given_up.give_up();
    let clearing = Clearing::begin(site.clone());
    assert!(using.find(&key("/"), &testing::get("/", &[])).is_some());
    using.close();
    until("it is gone", || !site.exists());
    drop((given_up, clearing));
    // Who waits for the lock meanwhile makes the folder anew.
    write(folder.path(), &[("/", simple("first"))]);
    let using = open(folder.path());
    let (_clearing, next) = (Clearing::begin(site.clone()), Disk::open(site.join("r2"), SIZE));
    using.close();
    until("the next one has it", || next.taken_out.lock().is_none());
    next.put(&key("/"), &simple("second"));
    until("it is written", || text(&next, "/").is_some());
    assert!(File::open(site.join("lock")).unwrap().try_lock().is_err());
}

#[test]
fn who_clears_what_another_one_has_cleared_does_not_make_it_anew() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    for is_given_up in [false, true] {
        folder::clear(&site, &is_given_up.into()).unwrap();
        assert!(!site.exists(), "{is_given_up}");
    }
}

#[test]
fn what_the_cache_did_not_make_stays_and_no_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (site, other) = (folder.path().join("site"), folder.path().join("other"));
    write(folder.path(), &[("/", simple("first"))]);
    fs::create_dir(&other).unwrap();
    write(&other, &[("/", simple("first"))]);
    fs::write(site.join("r1/notes"), "mine").unwrap();
    symlink(&other, site.join("r0")).unwrap();
    let left =
        || [site.join("r1"), other.join("site/r1")].map(|path| path.read_dir().unwrap().count());
    let _clearing = Clearing::begin(site.clone());
    until("it is cleared", || left() == [1, 1] && !site.join("lock").exists());
    assert!(site.join("r1/notes").exists() && site.join("r0").exists());
    assert!(![site.join("r0"), site.join("r1/notes")].iter().any(|path| folder::is_folder(path)));
    // A lock that leads elsewhere is none.
    fs::write(folder.path().join("file"), "").unwrap();
    symlink(folder.path().join("file"), site.join("lock")).unwrap();
    let error = folder::lock(&site).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
}

#[test]
fn a_folder_that_takes_nothing_is_told_of_and_all_goes_on_without_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("site"), "no folder").unwrap();
    let disk = Disk::open(folder.path().join("site/r1"), SIZE);
    until("it is given up", || disk.work.next_id().is_none());
    disk.put(&key("/"), &simple("a"));
    assert!(disk.find(&key("/"), &testing::get("/", &[])).is_none());
    fs::remove_file(folder.path().join("site")).unwrap();
    // One that is gone while it is used.
    let disk = open(folder.path());
    fs::remove_dir_all(folder.path().join("site")).unwrap();
    disk.put(&key("/"), &simple("a"));
    until("it is given up", || disk.work.is_idle() && disk.size_bytes() == 0);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
}
