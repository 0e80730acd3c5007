//! The files of a static site that the world may see: all but those that are for onebox.
//!
//! Owns which these are. Must not serve them.

use std::fs;
use std::io;
use std::path::Path;

/// Files in the root that configure the site and may hold secrets.
const PRIVATE: [&str; 2] = [onebox_config::SITE_FILE, "Procfile"];

/// Links the public files of `app` into the folder `public`, which does not exist; names with a dot in front are left
/// out, and so are links, which lead out of it.
///
/// # Errors
/// When a file cannot be linked or copied.
pub(super) fn publish(app: &Path, public: &Path) -> io::Result<()> {
    fs::create_dir(public)?;
    for entry in fs::read_dir(app)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_private = PRIVATE.iter().any(|private| name == *private);
        if is_private || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (source, target) = (entry.path(), public.join(&name));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            publish(&source, &target)?;
        } else if kind.is_file() {
            fs::hard_link(&source, &target).or_else(|_| fs::copy(&source, &target).map(|_| ()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_and_hidden_files_are_not_public() {
        let root = tempfile::tempdir().unwrap();
        let app = root.path().join("app");
        fs::create_dir_all(app.join("css")).unwrap();
        for file in ["index.html", "onebox.toml", "Procfile", ".env", "css/a.css"] {
            fs::write(app.join(file), "").unwrap();
        }
        let public = root.path().join("public");
        publish(&app, &public).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&public).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["css", "index.html"]);
        assert!(public.join("css/a.css").exists());
    }
}
