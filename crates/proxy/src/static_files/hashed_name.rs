//! Names that hold a hash of the content, as build tools write them: what such a file says never changes.
//!
//! A name that only looks so would be kept by browsers for a year whatever becomes of the file, while one that is not recognised
//! costs a question. So what could be a word, a date or a version counts as none: a hash has letters and digits, and changes
//! between kinds of characters as no person does.

use std::path::Path;

/// Endings of what tools write beside each other: `main.8b1d5f3a.chunk.js`, `app-5H2F3GKJ.js.map`.
const INNER: [&str; 5] = [".chunk", ".min", ".module", ".js", ".css"];
/// What a person hardly names in capitals.
const CODE: [&str; 8] = ["js", "mjs", "cjs", "css", "map", "wasm", "woff2", "woff"];

/// Whether the name of a file holds a hash of its content.
///
/// - Django's `ManifestStaticFilesStorage`, webpack and Parcel: `base.0123456789ab.css`, hexadecimal behind a dot.
/// - Vite and Rollup: `index-BfX2k9_a.js`, eight characters of base64url behind a hyphen.
/// - esbuild: `app-5H2F3GKJ.js`, eight characters of base32 behind a hyphen.
pub(super) fn has_hashed_name(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let Some((mut stem, extension)) = name.rsplit_once('.') else { return false };
    while let Some(rest) = INNER.iter().find_map(|inner| stem.strip_suffix(inner)) {
        stem = rest;
    }
    let behind_dot = stem.rsplit_once('.').is_some_and(|(_, hash)| is_hexadecimal(hash));
    behind_dot
        || behind_hyphen(stem).is_some_and(|hash| is_base64url(hash) || is_code(extension, hash))
}

/// The last eight characters, where a hyphen with something before it stands there.
fn behind_hyphen(stem: &str) -> Option<&str> {
    let (rest, hash) = stem.split_at_checked(stem.len().checked_sub(8)?)?;
    rest.strip_suffix('-').filter(|rest| !rest.is_empty()).map(|_| hash)
}

fn is_hexadecimal(hash: &str) -> bool {
    let has_both = changes(hash) >= if hash.len() < 12 { 3 } else { 1 };
    (8..=64).contains(&hash.len())
        && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && has_both
}

fn is_base64url(hash: &str) -> bool {
    hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && changes(hash) >= 5
}

fn is_code(extension: &str, hash: &str) -> bool {
    CODE.contains(&extension)
        && hash.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
        && changes(hash) >= 2
}

/// How often a capital, a small letter, a digit or another character stands behind one of another kind.
fn changes(text: &str) -> usize {
    let kind = |byte: &u8| match byte {
        b'A'..=b'Z' => 0,
        b'a'..=b'z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let pairs = text.as_bytes().iter().zip(text.as_bytes().iter().skip(1));
    pairs.filter(|(one, next)| kind(one) != kind(next)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_build_tools_write_is_recognised() {
        for name in [
            // Django
            "base.0123456789ab.css",
            "a/b.min.deadbeef0123.js",
            // webpack, as create-react-app and others configure it, and Parcel
            "main.8b1d5f3a.js",
            "static/js/787.3c2f1a9e.chunk.js",
            "main.8b1d5f3a.css.map",
            "app.3f2a1b0c4d5e6f708192.js",
            "logo.6ce24c58.svg",
            // Vite
            "assets/index-BfX2k9_a.js",
            "assets/index-4sK3-9Zx.css",
            "assets/logo-D9fK2xQ1.svg",
            "assets/index-BfX2k9_a.js.map",
            // esbuild
            "app-5H2F3GKJ.js",
            "chunk-K7Q2MZ4P.js",
            "app-5H2F3GKJ.css.map",
        ] {
            assert!(has_hashed_name(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn what_people_write_is_not() {
        for name in [
            "base.css",
            "report.20240131.csv",
            "backup.202401311200.zip",
            "base.0123456789xy.css",
            "0123456789ab.css",
            "decade.deadbeef.txt",
            "menu.facade12.html",
            "report-20240131.pdf",
            "my-homepage.js",
            "my-HomePage.js",
            "user-settings.css",
            "phone-Iphone12.jpg",
            "case-iPhone5S.png",
            "paper-Version2.pdf",
            "README-CHANGES2.js",
            "poster-SUMMER24.png",
            "poster-A4FORMAT.png",
            "jquery-3.7.1.min.js",
            "bootstrap-5.3.0-alpha1.css",
            "font-SemiBold.woff2",
            "Roboto-Regular.woff2",
            "talk-2024-01-31.js",
            "-BfX2k9_a.js",
            "BfX2k9_a.js",
            "größe-übersichtlich.js",
            "a-é5H2F3GK.js",
            ".js",
            "",
        ] {
            assert!(!has_hashed_name(Path::new(name)), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_it_panic(name in "\\PC{0,20}(-|\\.)\\PC{0,12}") {
            has_hashed_name(Path::new(&name));
        }
    }
}
