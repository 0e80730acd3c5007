//! A file in place of the application's own body: `X-Sendfile: /path/of/a/file` and `X-Accel-Redirect: /url/below/a/prefix`.
//!
//! Both are taken only where the site has folders for that (`[sendfile]`), which no URL leads to, and name nothing outside of
//! them: the file is opened as static files are. Of the application's fields those stay that nginx keeps, and what the file has of
//! the same name gives way.
//!
//! Source: nginx, `X-Accel-Redirect` (ngx_http_upstream, fields marked "redirect"); lighttpd and Apache, `X-Sendfile`.

use http::Method;
use onebox_metrics::ServedBy;

use super::mount::{Mount, Target};
use super::serve::StaticFiles;
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{RequestHead, Response, field};
use crate::path;
use crate::route::RoutedSite;

const BY_PATH: &[u8] = b"X-Sendfile";
const BY_URL: &[u8] = b"X-Accel-Redirect";

/// Kept with whatever comes of the file.
const KEPT: [&[u8]; 3] = [b"Set-Cookie", b"Cache-Control", b"Expires"];
/// Kept with its bytes.
const KEPT_WITH_BODY: [&[u8]; 3] = [b"Content-Type", b"Content-Disposition", b"Accept-Ranges"];

impl StaticFiles {
    /// The file that an application's answer names; the answer itself where it names none.
    ///
    /// # Errors
    /// [`ProxyError::NotFound`] for what is in no folder of the site's for that, [`ProxyError::File`] where the file system fails.
    pub(crate) async fn instead(
        &self,
        routed: &RoutedSite,
        head: &RequestHead,
        response: Response,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        if routed.sendfile.is_empty() {
            return Ok(response);
        }
        let place = if let Some(path) = field(&response.headers, BY_PATH) {
            by_path(&routed.sendfile, path)
        } else if let Some(url) = field(&response.headers, BY_URL) {
            by_url(&routed.sendfile, url)
        } else {
            return Ok(response);
        };
        let file = match &place {
            Some((mount, name)) => self.whole(mount, head, name).await?,
            None => None,
        };
        let Some(mut file) = file else {
            let (site, request_id) = (&routed.site.name, exchange.request_id.as_str());
            tracing::warn!(
                site,
                request_id,
                "the application names a file that [sendfile] has not"
            );
            return Err(ProxyError::NotFound);
        };
        keep(&response, &mut file);
        exchange.answered(file.status, ServedBy::App);
        Ok(file)
    }

    /// The file of a name; `None` where there is none.
    async fn whole(
        &self,
        mount: &Mount,
        head: &RequestHead,
        name: &[u8],
    ) -> Result<Option<Response>, ProxyError> {
        // Whatever the application was asked to do, the file is read.
        let reading;
        let head = match head.method {
            Method::GET | Method::HEAD => head,
            _ => {
                reading = RequestHead { method: Method::GET, ..head.clone() };
                &reading
            }
        };
        let item = self.item(mount, name).await?;
        Ok(self.file(mount, head, name, item).await)
    }
}

/// An absolute path of a file below one of the folders.
fn by_path<'m>(mounts: &'m [Mount], path: &[u8]) -> Option<(&'m Mount, Vec<u8>)> {
    mounts.iter().find_map(|mount| Some((mount, mount.below_folder(path)?.to_vec())))
}

/// A URL below one of the prefixes, the longest first; a query says nothing about a file.
fn by_url<'m>(mounts: &'m [Mount], url: &[u8]) -> Option<(&'m Mount, Vec<u8>)> {
    let raw = url.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let decoded = path::decode(raw).ok()?;
    mounts.iter().find_map(|mount| match mount.target(&decoded, raw) {
        Target::Named { relative: relative @ [_, ..], wants_folder: false } => {
            Some((mount, relative.to_vec()))
        }
        _ => None,
    })
}

/// Lays the fields of the application over those of the file.
fn keep(from: &Response, file: &mut Response) {
    let has_body = matches!(file.status, 200 | 206);
    let with_body = if has_body { &KEPT_WITH_BODY[..] } else { &[] };
    for name in KEPT.iter().chain(with_body) {
        let is_named = |key: &[u8]| key.eq_ignore_ascii_case(name);
        if field(&from.headers, name).is_some() {
            file.headers.retain(|(key, _)| !is_named(key));
        }
        file.headers.extend(from.headers.iter().filter(|(key, _)| is_named(key)).cloned());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::StaticMount;

    fn mounts() -> [Mount; 2] {
        let mount = |url: &str, folder: &str| {
            Mount::new(&StaticMount { url: url.into(), folders: vec![folder.into()] })
        };
        [mount("/files/deep", "/srv/deep"), mount("/files", "/srv/files")]
    }

    fn name(found: Option<(&Mount, Vec<u8>)>) -> Option<(String, String)> {
        found.map(|(mount, name)| (mount.prefix().to_owned(), String::from_utf8(name).unwrap()))
    }

    fn in_files(file: &str) -> Option<(String, String)> {
        Some(("/files".to_owned(), file.to_owned()))
    }

    #[test]
    fn a_url_names_a_file_below_the_longest_prefix() {
        let mounts = mounts();
        assert_eq!(name(by_url(&mounts, b"/files/a%20b.txt?x=1")), in_files("a b.txt"));
        let deep = Some(("/files/deep".to_owned(), "a".to_owned()));
        assert_eq!(name(by_url(&mounts, b"/files/deep/a")), deep);
        for url in [
            "/files",
            "/files/",
            "/files/../a",
            "/files/%2e%2e/a",
            "/files/.a",
            "/other/a",
            "files/a",
            "/files/a%2fb",
            "/files/%zz",
        ] {
            assert_eq!(name(by_url(&mounts, url.as_bytes())), None, "{url}");
        }
    }

    #[test]
    fn a_path_names_a_file_below_a_folder() {
        let mounts = mounts();
        assert_eq!(name(by_path(&mounts, b"/srv/files/a/b%20.txt")), in_files("a/b%20.txt"));
        for path in [
            "/srv/files",
            "/srv/files/",
            "/srv/files/../secret",
            "/srv/filesx/a",
            "/etc/passwd",
            "a",
            "/srv/files/.a",
            "/srv/files//a",
        ] {
            assert_eq!(name(by_path(&mounts, path.as_bytes())), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_value_leaves_the_folders(value in "(/srv/files|/files)?(/|\\.|%2e|%2f|a|\\\\|\0){0,12}") {
            let mounts = mounts();
            for found in [by_url(&mounts, value.as_bytes()), by_path(&mounts, value.as_bytes())] {
                let Some((_, name)) = found else { continue };
                prop_assert!(name.split(|byte| *byte == b'/').all(|part| !matches!(part, [] | [b'.', ..])));
            }
        }
    }
}
