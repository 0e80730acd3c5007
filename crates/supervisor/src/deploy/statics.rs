//! Which folders are served without Python, and under which prefix.
//!
//! Owns the merging of what was detected, what Django says and what `onebox.toml` says, which wins. Must not serve.

use std::fs;
use std::path::{Path, PathBuf};

use super::hooks::Collect;
use super::settings::DjangoSettings;

/// Prefix without its last slash, and the folders that are searched for it.
pub(crate) type Mount = (String, Vec<PathBuf>);

/// The mounts of a Django project: static files, and what its users uploaded, which is below `shared/` or in `app`.
pub(crate) fn of_django(settings: &DjangoSettings, collect: &Collect, app: &Path) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let collected = collect.root().map(Path::to_path_buf);
    if let (Some(url), Some(root)) = (settings.static_url.as_deref().and_then(prefix), collected) {
        mounts.push((url, vec![root]));
    }
    let real = fs::canonicalize(app).unwrap_or_else(|_| app.to_path_buf());
    let media = settings.media_root.clone();
    let media = media.filter(|root| root.starts_with(app) || root.starts_with(&real));
    if let (Some(url), Some(root)) = (settings.media_url.as_deref().and_then(prefix), media) {
        mounts.push((url, vec![root]));
    }
    mounts
}

/// Lays `configured` (folders below `app`) over `detected`, and follows what is kept to where it really lies: a mount
/// whose folder is kept is served from `shared/`, and a kept folder inside a mount becomes a mount of its own, for the
/// link to it leads out of the folder.
pub(crate) fn merge(
    detected: Vec<Mount>,
    configured: &[(String, PathBuf)],
    app: &Path,
    kept: &[(PathBuf, PathBuf)],
) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = detected;
    for (url, folder) in configured {
        let url = prefix(url).unwrap_or_default();
        mounts.retain(|(known, _)| *known != url);
        mounts.push((url, vec![app.join(folder)]));
    }
    let real = fs::canonicalize(app).unwrap_or_else(|_| app.to_path_buf());
    let mut inner: Vec<Mount> = Vec::new();
    for (url, folders) in &mut mounts {
        for folder in folders {
            let Ok(below) = folder.strip_prefix(app).or_else(|_| folder.strip_prefix(&real)) else {
                continue;
            };
            let below = below.to_path_buf();
            for (path, place) in kept {
                if let Ok(rest) = below.strip_prefix(path) {
                    *folder = joined(place, rest);
                } else if let Ok(rest) = path.strip_prefix(&below) {
                    inner.push((format!("{url}/{}", rest.display()), vec![place.clone()]));
                }
            }
        }
    }
    inner.retain(|(url, _)| !mounts.iter().any(|(known, _)| known == url));
    mounts.extend(inner);
    mounts
}

/// A URL as a prefix: `None` for another server's and for the whole site.
pub(crate) fn prefix(url: &str) -> Option<String> {
    let trimmed = url.trim_end_matches('/');
    let is_local = trimmed.starts_with('/') && !trimmed.starts_with("//");
    is_local.then(|| trimmed.to_owned())
}

fn joined(place: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { place.to_path_buf() } else { place.join(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(url: &str, folder: &str) -> Mount {
        (url.to_owned(), vec![PathBuf::from(folder)])
    }

    fn kept(path: &str) -> (PathBuf, PathBuf) {
        (PathBuf::from(path), Path::new("/shared").join(path))
    }

    #[test]
    fn what_is_configured_wins_over_what_is_detected() {
        let configured = [("/static/".to_owned(), PathBuf::from("public"))];
        let merged =
            merge(vec![mount("/static", "/app/static")], &configured, Path::new("/app"), &[]);
        assert_eq!(merged, [mount("/static", "/app/public")]);
    }

    #[test]
    fn kept_folders_are_served_from_where_they_lie() {
        let detected = vec![
            mount("/media", "/app/media"),
            mount("/static", "/app/static"),
            mount("/x", "/app/media/x"),
        ];
        let merged =
            merge(detected, &[], Path::new("/app"), &[kept("media"), kept("static/uploads")]);
        assert_eq!(
            merged,
            [
                mount("/media", "/shared/media"),
                mount("/static", "/app/static"),
                mount("/x", "/shared/media/x"),
                mount("/static/uploads", "/shared/static/uploads"),
            ]
        );
    }

    #[test]
    fn static_files_of_another_server_are_not_ours() {
        assert_eq!(prefix("https://cdn.example.com/"), None);
        assert_eq!(prefix("//cdn.example.com/"), None);
        assert_eq!(prefix("/"), None);
        assert_eq!(prefix("/static/"), Some("/static".to_owned()));
    }

    #[test]
    fn media_outside_the_site_is_not_served() {
        let settings = DjangoSettings {
            media_url: Some("/media/".to_owned()),
            media_root: Some(PathBuf::from("/etc")),
            ..DjangoSettings::default()
        };
        assert!(of_django(&settings, &Collect::Nowhere, Path::new("/app")).is_empty());
    }
}
