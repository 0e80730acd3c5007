//! Which script a FastCGI server runs for a path, and the variables that say so.
//!
//! Source: RFC 3875 §4.1 (SCRIPT_NAME, PATH_INFO); nginx's `fastcgi_params`, `fastcgi_split_path_info` and `try_files`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use onebox_config::site::{Script, Upstream};
use onebox_uwsgi::{EncodeError, Vars, VarsBuilder, key};

use crate::error::ProxyError;

/// A script below the root, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `/blog/index.php`
    pub(super) name: Vec<u8>,
    /// `/2026/11`, or empty.
    pub(super) path_info: Vec<u8>,
}

/// Whether a path names a script by itself: `/a.php`, `/a.php/b`.
pub(super) fn is_script(settings: &Script, path: &[u8]) -> bool {
    split(path, extension(settings)).is_some()
}

/// The script for `path`: the one it names, else the index of its folder, else that of the upstream's own path, which then
/// is told what stands behind it. Where the root can be seen from here, only what is a file in it is run; otherwise its server must look.
///
/// # Errors
/// [`ProxyError::NotFound`] where there is none.
pub(super) async fn find(upstream: &Upstream, path: &[u8]) -> Result<Target, ProxyError> {
    let candidates = candidates(upstream, path);
    let root = upstream.script.root.clone();
    let look = move || choose(&root, candidates);
    tokio::task::spawn_blocking(look).await.map_err(|_| ProxyError::TaskLost)?
}

fn choose(root: &Path, candidates: Vec<Target>) -> Result<Target, ProxyError> {
    let is_here = root.is_dir();
    let is_hidden = |target: &Target| {
        target.name.split(|byte| *byte == b'/').any(|part| part.starts_with(b"."))
    };
    let is_script =
        |target: &Target| !is_hidden(target) && (!is_here || file(root, target).is_file());
    candidates.into_iter().find(is_script).ok_or(ProxyError::NotFound)
}

/// What could be run, the best first.
fn candidates(upstream: &Upstream, path: &[u8]) -> Vec<Target> {
    let index = upstream.script.index.as_bytes();
    let prefix = upstream.path.as_deref().unwrap_or_default().trim_end_matches('/').as_bytes();
    let behind = path.strip_prefix(prefix).unwrap_or_default();
    let front = Target { name: [prefix, b"/", index].concat(), path_info: behind.to_vec() };
    if let Some(at) = split(path, extension(&upstream.script)) {
        let (name, rest) = path.split_at(at);
        return vec![Target { name: name.to_vec(), path_info: rest.to_vec() }];
    }
    let folder = path.strip_suffix(b"/").unwrap_or(path);
    let own = Target { name: [folder, b"/", index].concat(), path_info: Vec::new() };
    // Without its slash a folder's links would lead elsewhere.
    if path.ends_with(b"/") { vec![own, front] } else { vec![front] }
}

/// Where the first component ends that is a script's name.
fn split(path: &[u8], extension: &[u8]) -> Option<usize> {
    let mut end = 0;
    for part in path.split(|byte| *byte == b'/') {
        end += part.len();
        if part.len() > extension.len() && part.ends_with(extension) {
            return Some(end);
        }
        end += 1;
    }
    None
}

/// `.php`
fn extension(settings: &Script) -> &[u8] {
    let name = settings.index.as_bytes();
    let dot = name.iter().rposition(|byte| *byte == b'.');
    dot.and_then(|dot| name.get(dot..)).unwrap_or_default()
}

fn file(root: &Path, target: &Target) -> PathBuf {
    let name = target.name.strip_prefix(b"/").unwrap_or(&target.name);
    root.join(OsStr::from_bytes(name))
}

/// The variables for a FastCGI server: those for uwsgi, with the script in them.
///
/// # Errors
/// [`EncodeError`] where they are larger than `limit`.
pub(super) fn params(
    vars: &Vars,
    target: &Target,
    settings: &Script,
    limit: usize,
) -> Result<Vars, EncodeError> {
    let mut params = VarsBuilder::new(limit.min(VarsBuilder::MAX_BLOCK_BYTES));
    for (name, value) in vars.iter() {
        if name != key::SCRIPT_NAME && name != key::PATH_INFO {
            params.push(name, value)?;
        }
    }
    let uri = [&target.name[..], &target.path_info[..]].concat();
    let root = settings.root.as_os_str().as_bytes();
    params.push(b"GATEWAY_INTERFACE", b"CGI/1.1")?;
    // PHP's CGI refuses to run without it; php-fpm does not mind.
    params.push(b"REDIRECT_STATUS", b"200")?;
    params.push(b"DOCUMENT_ROOT", root)?;
    params.push(b"DOCUMENT_URI", &uri)?;
    params.push(b"SCRIPT_FILENAME", file(&settings.root, target).as_os_str().as_bytes())?;
    params.push(key::SCRIPT_NAME, &target.name)?;
    params.push(key::PATH_INFO, &target.path_info)?;
    if vars.get(key::CONTENT_LENGTH).is_none() {
        params.push(key::CONTENT_LENGTH, b"")?;
    }
    Ok(params.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(root: &Path) -> Upstream {
        let script = Script { root: root.to_path_buf(), index: "index.php".into() };
        Upstream { script, ..Upstream::default() }
    }

    async fn found(root: &Path, path: &str) -> Option<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let target = find(&upstream(root), path.as_bytes()).await.ok()?;
        Some((text(target.name), text(target.path_info)))
    }

    fn pair(name: &str, info: &str) -> Option<(String, String)> {
        Some((name.to_owned(), info.to_owned()))
    }

    #[tokio::test]
    async fn a_path_names_a_script_a_folder_or_goes_to_the_front() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("blog")).unwrap();
        for name in ["index.php", "blog/index.php", "a.php"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let found = |path: &'static str| found(root.path(), path);
        assert_eq!(found("/a.php").await, pair("/a.php", ""));
        assert_eq!(found("/a.php/b/c").await, pair("/a.php", "/b/c"));
        assert_eq!(found("/blog/").await, pair("/blog/index.php", ""));
        assert_eq!(found("/").await, pair("/index.php", ""));
        assert_eq!(found("/pretty/url").await, pair("/index.php", "/pretty/url"));
        assert_eq!(found("/none/").await, pair("/index.php", "/none/"));
    }

    #[tokio::test]
    async fn the_front_is_below_the_path_of_its_upstream() {
        let upstream =
            Upstream { path: Some("/php".into()), ..upstream(Path::new("/nonexistent")) };
        let target = find(&upstream, b"/php/pretty").await.ok().unwrap();
        assert_eq!(
            (&target.name[..], &target.path_info[..]),
            (&b"/php/index.php"[..], &b"/pretty"[..])
        );
    }

    #[tokio::test]
    async fn what_is_no_file_of_the_root_is_never_run() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("photo.jpg"), "<?php evil();").unwrap();
        std::fs::write(root.path().join(".secret.php"), "").unwrap();
        for path in ["/photo.jpg/x.php", "/none.php", "/../etc/x.php", "/.secret.php", "/pretty"] {
            assert_eq!(found(root.path(), path).await, None, "{path}");
        }
    }

    #[tokio::test]
    async fn a_root_on_another_machine_is_looked_at_there() {
        let root = Path::new("/nonexistent/srv/www");
        assert_eq!(found(root, "/x.php").await, pair("/x.php", ""));
        assert_eq!(found(root, "/a/").await, pair("/a/index.php", ""));
    }

    #[test]
    fn the_variables_name_the_script() {
        let mut vars = VarsBuilder::new(1000);
        for (name, value) in [("SCRIPT_NAME", ""), ("PATH_INFO", "/a.php/b"), ("QUERY_STRING", "c")]
        {
            vars.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let target = Target { name: b"/a.php".to_vec(), path_info: b"/b".to_vec() };
        let params =
            params(&vars.finish(), &target, &upstream(Path::new("/srv")).script, 65_535).unwrap();
        for (name, value) in [
            ("SCRIPT_FILENAME", "/srv/a.php"),
            ("SCRIPT_NAME", "/a.php"),
            ("PATH_INFO", "/b"),
            ("DOCUMENT_ROOT", "/srv"),
            ("DOCUMENT_URI", "/a.php/b"),
            ("QUERY_STRING", "c"),
        ] {
            assert_eq!(params.get(name.as_bytes()), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(params.iter().filter(|(name, _)| *name == b"PATH_INFO").count(), 1);
    }
}
