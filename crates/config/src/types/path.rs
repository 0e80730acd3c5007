//! Paths below a site's root, and paths of URLs.

use std::path::{Component, Path, PathBuf};

use super::Invalid;

/// A path below the site's root, in its shortest form. It can't name the root itself, nor anything outside.
pub(crate) fn site_path(text: &str) -> Result<PathBuf, Invalid> {
    let refused = |why: &str| Invalid::new(format!("\"{text}\" {why}"));
    if text.contains('\0') {
        return Err(refused("is not a path"));
    }
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(refused("leads out of the site's folder")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused("is not inside the site's folder")
                    .hint("write the path from the folder that holds onebox.toml"));
            }
        }
    }
    if path.as_os_str().is_empty() {
        return Err(refused("names the whole folder").hint("name a file or folder in it"));
    }
    Ok(path)
}

/// The path of a URL: `/` and printable ASCII, perhaps with a query.
pub(crate) fn url_path(text: &str) -> Result<String, Invalid> {
    let refused = Invalid::new(format!("\"{text}\" is not the path of a URL"));
    if !text.starts_with('/') {
        return Err(refused.hint("begin with a slash: \"/healthz\""));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
        return Err(refused.hint("write spaces and other special characters as %20 and the like"));
    }
    Ok(text.to_owned())
}

/// The beginning of URLs that a folder serves: `/static`, without a slash at its end; `/` alone is every URL.
pub(crate) fn url_prefix(text: &str) -> Result<String, Invalid> {
    let refused = Invalid::new(format!("\"{text}\" is not the beginning of a URL"));
    if !text.starts_with('/') {
        return Err(refused.hint(format!("begin with a slash: \"/{text}\"")));
    }
    if text.contains(['?', '#', '%', '\\', '*']) {
        return Err(refused.hint("write a plain path: \"/static\""));
    }
    let path = url_path(text)?;
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return Ok("/".to_owned());
    }
    if trimmed
        .split('/')
        .skip(1)
        .any(|segment| segment.is_empty() || segment == "." || segment == "..")
    {
        return Err(refused.hint("write each segment between single slashes, without . and .."));
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_brought_to_their_shortest_form() {
        assert_eq!(site_path("./media//photos/").unwrap(), Path::new("media/photos"));
    }

    #[test]
    fn a_path_that_is_not_inside_of_the_site_is_refused() {
        for text in ["", ".", "./", "/etc/passwd", "..", "a/../b", "../x", "a/b/../../..", "a\0b"] {
            assert!(site_path(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn prefixes_lose_their_last_slash() {
        assert_eq!(url_prefix("/static/").unwrap(), "/static");
        assert_eq!(url_prefix("/a/b").unwrap(), "/a/b");
        assert_eq!(url_prefix("/").unwrap(), "/");
        for text in ["", "static", "/a//b", "/a/../b", "/a?b", "/a b", "/a%2f", "//x"] {
            assert!(url_prefix(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_root(text in "[a./\\\\\u{0}-]{0,20}") {
            if let Ok(path) = site_path(&text) {
                prop_assert!(path.is_relative());
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
