//! Which part of a path names a file, and which paths name none. Pure: no file system.
//!
//! Whatever a path says, in whatever encoding, what comes out of here stays below its folder and has no component that
//! starts with a dot.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use crate::route::StaticMount;

/// A URL prefix and its folders.
pub(crate) struct Mount {
    /// Tells mounts apart for what is remembered of their files; the same folders are the same mount in every table.
    pub(super) id: u64,
    /// Without a slash at its end; empty at the root.
    prefix: String,
    pub(super) folders: Vec<PathBuf>,
}

/// What a path means to a mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'p> {
    /// It is not below the mount.
    Elsewhere,
    /// It is, and names something that is never served.
    Refused,
    /// A name below the folders; empty: the folder itself.
    Named { relative: &'p [u8], wants_folder: bool },
}

impl Mount {
    pub(crate) fn new(mount: &StaticMount) -> Self {
        let mut hasher = DefaultHasher::new();
        mount.folders.hash(&mut hasher);
        Self {
            id: hasher.finish(),
            prefix: mount.url.trim_end_matches('/').to_owned(),
            folders: mount.folders.clone(),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What `decoded` names here; `raw` is the same path as it was sent.
    pub(super) fn target<'p>(&self, decoded: &'p [u8], raw: &[u8]) -> Target<'p> {
        let rest = decoded.strip_prefix(self.prefix.as_bytes());
        let relative = match rest {
            Some([b'/', relative @ ..]) => relative,
            Some([]) if !self.prefix.is_empty() => {
                return Target::Named { relative: b"", wants_folder: false };
            }
            _ => return Target::Elsewhere,
        };
        if has_encoded_slash(raw) {
            return Target::Refused;
        }
        let (relative, wants_folder) = match relative {
            [] => (relative, true),
            [name @ .., b'/'] => (name, true),
            name => (name, false),
        };
        let is_fine = relative.is_empty() && wants_folder && !decoded.ends_with(b"//")
            || !relative.is_empty() && relative.split(|byte| *byte == b'/').all(is_plain_name);
        if is_fine { Target::Named { relative, wants_folder } } else { Target::Refused }
    }
}

impl Mount {
    /// What is left of an absolute path below one of the folders, where it names a file as a URL could.
    pub(super) fn below_folder<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let below = |folder: &PathBuf| {
            let rest = path.strip_prefix(folder.as_os_str().as_encoded_bytes())?;
            rest.strip_prefix(b"/")
                .filter(|name| name.split(|byte| *byte == b'/').all(is_plain_name))
        };
        self.folders.iter().find_map(below)
    }
}

/// Whether a component is a name and neither empty, hidden, `.`, `..` nor what other systems take for a separator.
fn is_plain_name(name: &[u8]) -> bool {
    !matches!(name, [] | [b'.', ..]) && !name.iter().any(|byte| matches!(byte, b'\\' | 0))
}

/// `%2F` would be a border between components that the client did not write.
fn has_encoded_slash(raw: &[u8]) -> bool {
    memchr::memmem::find_iter(raw, b"%2").any(|at| matches!(raw.get(at + 2), Some(b'f' | b'F')))
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn mount(url: &str) -> Mount {
        Mount::new(&StaticMount { url: url.into(), folders: Vec::new() })
    }

    fn named(relative: &str, wants_folder: bool) -> Target<'_> {
        Target::Named { relative: relative.as_bytes(), wants_folder }
    }

    fn target<'p>(mount: &Mount, path: &'p str) -> Target<'p> {
        mount.target(path.as_bytes(), path.as_bytes())
    }

    #[test]
    fn a_mount_begins_and_ends_at_slashes() {
        let mount = mount("/static/");
        assert_eq!(target(&mount, "/static/a/b.css"), named("a/b.css", false));
        assert_eq!(target(&mount, "/static/a/"), named("a", true));
        assert_eq!(target(&mount, "/static/"), named("", true));
        assert_eq!(target(&mount, "/static"), named("", false));
        assert_eq!(target(&mount, "/statics/a"), Target::Elsewhere);
        assert_eq!(target(&mount, "/other"), Target::Elsewhere);
        assert_eq!(target(&mount, "*"), Target::Elsewhere);
    }

    #[test]
    fn a_mount_at_the_root_has_every_path() {
        let mount = mount("/");
        assert_eq!(target(&mount, "/"), named("", true));
        assert_eq!(target(&mount, "/a"), named("a", false));
        assert_eq!(target(&mount, "*"), Target::Elsewhere);
    }

    #[test]
    fn dots_hidden_files_backslashes_and_empty_components_are_refused() {
        let mount = mount("/s");
        let paths = [
            "/s/..",
            "/s/../x",
            "/s/a/../b",
            "/s/.",
            "/s/a/./b",
            "/s/.env",
            "/s/.git/config",
            "/s/a/.b",
            "/s/...",
            "/s/a\\b",
            "/s/..\\x",
            "/s//a",
            "/s/a//b",
            "/s//",
            "/s/a//",
        ];
        for path in paths {
            assert_eq!(target(&mount, path), Target::Refused, "{path}");
        }
    }

    #[test]
    fn an_encoded_slash_is_refused() {
        let mount = mount("/s");
        assert_eq!(mount.target(b"/s/a/b", b"/s/a%2Fb"), Target::Refused);
        assert_eq!(mount.target(b"/s/a/b", b"/s/a%2fb"), Target::Refused);
        assert_eq!(mount.target(b"/s/a b", b"/s/a%20b"), named("a b", false));
    }

    /// Pieces of which attacks are made, and every encoding of them.
    fn piece() -> impl Strategy<Value = String> {
        let plain = prop::sample::select(vec![
            "/",
            "//",
            ".",
            "..",
            "...",
            "\\",
            "a",
            "b.css",
            "%2e",
            "%2E",
            "%2f",
            "%2F",
            "%5c",
            "%252e",
            "%c0%ae",
            "%ef%bc%8e",
            "%00",
            "/../",
            "/./",
            "..;",
            "~",
            " ",
            "é",
            "/s/",
            "%2e%2e%2f",
        ]);
        plain.prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn nothing_escapes_in_any_encoding(
            prefix in prop::sample::select(vec!["/", "/s", "/s/deep"]),
            pieces in prop::collection::vec(piece(), 0..8),
        ) {
            use std::os::unix::ffi::OsStrExt;
            let raw = format!("{}/{}", prefix.trim_end_matches('/'), pieces.concat());
            let mount = mount(prefix);
            let Ok(decoded) = crate::path::decode(raw.as_bytes()) else { return Ok(()) };
            if let Target::Named { relative, .. } = mount.target(&decoded, raw.as_bytes()) {
                let path = Path::new(std::ffi::OsStr::from_bytes(relative));
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(!relative.contains(&0) && !relative.contains(&b'\\'));
                prop_assert!(!relative.starts_with(b"/") && !relative.ends_with(b"/"));
                prop_assert!(relative.split(|byte| *byte == b'/').all(|name| !name.starts_with(b".")));
            }
        }

        #[test]
        fn any_bytes_are_named_safely_or_refused(path in prop::collection::vec(any::<u8>(), 0..40)) {
            let path = [b"/", &path[..]].concat();
            if let Target::Named { relative, .. } = mount("/").target(&path, &path) {
                prop_assert!(relative.is_empty()
                    || relative.split(|byte| *byte == b'/').all(is_plain_name));
            }
        }
    }
}
