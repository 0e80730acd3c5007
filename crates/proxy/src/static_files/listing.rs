//! The names in a folder, as a page. Blocking: called on a blocking thread.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;

use onebox_config::site::encode_path;
use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::answer::{empty, name};
use crate::error_page::{STYLE, escaped};
use crate::message::{Response, ResponseBody};

/// Of larger folders the first names are shown.
const MOST_NAMES: usize = 10_000;

/// One name in a folder.
struct Entry {
    name: Vec<u8>,
    size: Option<u64>,
}

/// The page of an open folder, which is asked for by `path`; names that are hidden or `is_private` are left out, and so is what is
/// neither a file nor a folder.
///
/// # Errors
/// Where the folder can't be read.
pub(super) fn page(
    folder: &File,
    path: &[u8],
    is_private: impl Fn(&[u8]) -> bool,
) -> io::Result<Response> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(b".") || is_private(name) || entries.len() >= MOST_NAMES {
            continue;
        }
        // Links are followed as the request for them would be; where they lead out, that one is refused.
        let Ok(about) = statat(folder, OsStr::from_bytes(name), AtFlags::empty()) else { continue };
        let size = match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory => None,
            FileType::RegularFile => Some(u64::try_from(about.st_size).unwrap_or(0)),
            _ => continue,
        };
        entries.push(Entry { name: name.to_vec(), size });
    }
    // Folders first.
    entries.sort_by(|one, other| {
        (one.size.is_some(), &one.name).cmp(&(other.size.is_some(), &other.name))
    });
    let headers = vec![
        (name("Content-Type"), name("text/html; charset=utf-8")),
        (name("Cache-Control"), name("no-cache")),
        (name("X-Content-Type-Options"), name("nosniff")),
    ];
    let body = ResponseBody::Full(html(path, &entries).into());
    Ok(Response { body, ..empty(200, headers) })
}

fn html(path: &[u8], entries: &[Entry]) -> String {
    let title = escaped(&String::from_utf8_lossy(path));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title}</h1><ul>\n"
    );
    if path != b"/" {
        page.push_str("<li><a href=\"../\">../</a>\n");
    }
    for Entry { name, size } in entries {
        let slash = if size.is_some() { "" } else { "/" };
        // `./` in front: a name with a colon would be taken for a scheme (RFC 3986 §4.2).
        let link = escaped(&String::from_utf8_lossy(&encode_path(name)));
        let shown = escaped(&String::from_utf8_lossy(name));
        page.push_str(&format!("<li><a href=\"./{link}{slash}\">{shown}{slash}</a>"));
        if let Some(size) = size {
            page.push_str(&format!(" <small>{size}</small>"));
        }
        page.push('\n');
    }
    page.push_str("</ul></html>\n");
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn names_are_escaped_and_hidden_ones_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a&b <c>\"?#.html", "x:y", ".env", "onebox.toml"] {
            std::fs::write(folder.path().join(name), "text").unwrap();
        }
        std::fs::create_dir(folder.path().join("z")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
        let open = File::open(folder.path()).unwrap();
        let page = page(&open, b"/a<b>/", |name| name == b"onebox.toml").unwrap();
        let text = String::from_utf8(testing::body(page).await.unwrap()).unwrap();
        let items: Vec<&str> = text.lines().filter(|line| line.starts_with("<li>")).collect();
        assert_eq!(
            items,
            [
                "<li><a href=\"../\">../</a>",
                "<li><a href=\"./z/\">z/</a>",
                "<li><a href=\"./a&amp;b%20%3Cc%3E%22%3F%23.html\">a&amp;b &lt;c&gt;&quot;?#.html</a> <small>4</small>",
                "<li><a href=\"./b.txt\">b.txt</a> <small>4</small>",
                "<li><a href=\"./x:y\">x:y</a> <small>4</small>",
            ]
        );
        assert!(text.contains("<title>/a&lt;b&gt;/</title>"));
    }
}
