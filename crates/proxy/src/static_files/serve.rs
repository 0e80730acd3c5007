//! The step of the pipeline: from a path to the answer of a file, through the mounts of a site.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use http::Method;
use onebox_config::site::encode_path;
use onebox_metrics::{Phase, ServedBy};

use super::answer::{self, Content};
use super::facts::Facts;
use super::listing;
use super::load::{Loaded, load};
use super::memory::{FileMemory, HotFile, Remembered};
use super::mount::{Mount, Target};
use crate::compress::{self, Coding};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{RequestHead, Response};
use crate::route::{RoutedSite, StaticMount};

/// What a static site shows for what it has not.
const NOT_FOUND: &[u8] = b"404.html";

/// The static files of all sites.
#[derive(Default)]
pub(crate) struct StaticFiles {
    pub(super) memory: Arc<FileMemory>,
}

/// A file that a configuration names as a page.
pub(crate) struct Page {
    mount: Mount,
    name: Vec<u8>,
}

impl Page {
    /// The file at an absolute path.
    pub(crate) fn new(path: &Path) -> Option<Self> {
        let mount = StaticMount { url: "/".to_owned(), folders: vec![path.parent()?.to_owned()] };
        let name = path.file_name()?.as_encoded_bytes().to_vec();
        Some(Self { mount: Mount::new(&mount), name })
    }
}

/// A path that is looked for among the files of a site.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    head: &'a RequestHead,
    /// Decoded.
    path: &'a [u8],
    /// Below the mount, without slashes at its ends.
    relative: &'a [u8],
    folder: bool,
}

/// A path of `try-files`.
#[derive(Clone, Copy)]
pub(crate) enum Tried<'a> {
    File(&'a [u8]),
    /// With a slash at its end.
    Folder(&'a [u8]),
}

/// What a name below a mount is.
pub(super) enum Item {
    Hot(Arc<HotFile>),
    /// It is being written.
    Unsteady(Facts, Arc<File>),
    Folder(File),
    Nothing,
}

impl StaticFiles {
    /// Forgets half of what is remembered of files.
    pub(crate) fn halve(&self) {
        self.memory.halve();
    }

    /// The answer where the path names a file; `None`: the application is to be asked.
    ///
    /// # Errors
    /// [`ProxyError::NotFound`] for what is never served, [`ProxyError::File`] where the file system fails.
    pub(crate) async fn answer(
        &self,
        routed: &RoutedSite,
        head: &RequestHead,
        path: &[u8],
        exchange: &mut Exchange,
    ) -> Result<Option<Response>, ProxyError> {
        let goes_on = routed.has_answer(path);
        for mount in &routed.mounts {
            let answer = match mount.target(path, &head.path) {
                Target::Elsewhere => continue,
                _ if routed.gives_way(mount, path) => None,
                // A mount at the root has every path: those that are no file's may be the application's.
                Target::Refused if mount.prefix().is_empty() && goes_on => None,
                Target::Refused => Some(self.not_found(routed, mount, head).await?),
                Target::Named { relative, wants_folder } => {
                    let wanted = Wanted { head, path, relative, folder: wants_folder };
                    match self.named(routed, mount, wanted).await? {
                        None if !goes_on => Some(self.not_found(routed, mount, head).await?),
                        answer => answer,
                    }
                }
            };
            let Some(response) = answer else { break };
            return Ok(Some(served(response, exchange)));
        }
        Ok(None)
    }

    /// The answer where a path of `try-files` is what is looked for.
    ///
    /// # Errors
    /// [`ProxyError::File`] where the file system fails.
    pub(crate) async fn tried(
        &self,
        routed: &RoutedSite,
        head: &RequestHead,
        tried: Tried<'_>,
        exchange: &mut Exchange,
    ) -> Result<Option<Response>, ProxyError> {
        let (path, is_folder) = match tried {
            Tried::File(path) => (path, false),
            // As nginx does it: the slash is what the redirect adds.
            Tried::Folder(path) => (path.strip_suffix(b"/").unwrap_or(path), true),
        };
        let path = if path.is_empty() { b"/" } else { path };
        for mount in &routed.mounts {
            match mount.target(path, &head.path) {
                Target::Elsewhere => continue,
                Target::Named { relative, wants_folder }
                    if is_folder || !(wants_folder || relative.is_empty()) =>
                {
                    let wanted = Wanted { head, path, relative, folder: wants_folder };
                    if is_folder != self.is_folder(mount, relative).await? {
                        return Ok(None);
                    }
                    let answer = self.named(routed, mount, wanted).await?;
                    return Ok(answer.map(|response| served(response, exchange)));
                }
                Target::Named { .. } | Target::Refused => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn is_folder(&self, mount: &Mount, relative: &[u8]) -> Result<bool, ProxyError> {
        Ok(matches!(self.item(mount, relative).await?, Item::Folder(_)))
    }

    /// `None`: it names no file.
    async fn named(
        &self,
        routed: &RoutedSite,
        mount: &Mount,
        wanted: Wanted<'_>,
    ) -> Result<Option<Response>, ProxyError> {
        let Wanted { head, relative, .. } = wanted;
        if routed.site.index && is_private(relative) {
            return Ok(None);
        }
        if wanted.folder {
            return self.folder(routed, mount, wanted).await;
        }
        let item = self.item(mount, relative).await?;
        match item {
            Item::Nothing => Ok(None),
            Item::Folder(_) if routed.index.is_empty() && !routed.listing => Ok(None),
            Item::Folder(_) if is_read(head) => {
                Ok(Some(answer::to_folder(head, &encode_path(wanted.path))))
            }
            Item::Folder(_) => Ok(Some(answer::method_not_allowed())),
            item => Ok(self.file(mount, head, relative, item).await),
        }
    }

    /// A folder's index file, else the names in it where they may be seen.
    async fn folder(
        &self,
        routed: &RoutedSite,
        mount: &Mount,
        wanted: Wanted<'_>,
    ) -> Result<Option<Response>, ProxyError> {
        for index in &routed.index {
            let name = match wanted.relative {
                [] => index.clone(),
                folder => [folder, b"/", index].concat(),
            };
            let item = self.item(mount, &name).await?;
            if let Some(response) = self.file(mount, wanted.head, &name, item).await {
                return Ok(Some(response));
            }
        }
        if !routed.listing {
            return Ok(None);
        }
        let Item::Folder(folder) = self.item(mount, wanted.relative).await? else {
            return Ok(None);
        };
        if !is_read(wanted.head) {
            return Ok(Some(answer::method_not_allowed()));
        }
        let hides = wanted.relative.is_empty() && routed.site.index;
        let path = wanted.path.to_vec();
        let listed = move || listing::page(&folder, &path, |name| hides && is_private(name));
        let page = tokio::task::spawn_blocking(listed).await.map_err(|_| ProxyError::TaskLost)?;
        Ok(Some(page.map_err(ProxyError::File)?))
    }

    /// `None`: it is no file.
    pub(super) async fn file(
        &self,
        mount: &Mount,
        head: &RequestHead,
        name: &[u8],
        item: Item,
    ) -> Option<Response> {
        match item {
            Item::Folder(_) | Item::Nothing => None,
            _ if !is_read(head) => Some(answer::method_not_allowed()),
            Item::Unsteady(facts, file) => {
                Some(answer::file(head, &facts, Content::Disk(file), Coding::Identity))
            }
            Item::Hot(file) => Some(self.hot(mount, head, name, &file).await),
        }
    }

    /// A page in place of the one that was asked for; `None`: it is not there.
    ///
    /// # Errors
    /// [`ProxyError::File`] where the file system fails.
    pub(crate) async fn page(
        &self,
        page: &Page,
        status: u16,
    ) -> Result<Option<Response>, ProxyError> {
        Ok(match self.item(&page.mount, &page.name).await? {
            Item::Hot(file) => Some(answer::error_page(status, &file.facts, file.content.clone())),
            Item::Unsteady(facts, file) => {
                Some(answer::error_page(status, &facts, Content::Disk(file)))
            }
            Item::Folder(_) | Item::Nothing => None,
        })
    }

    /// A file from memory, in the coding that the client prefers.
    async fn hot(
        &self,
        mount: &Mount,
        head: &RequestHead,
        name: &[u8],
        file: &Arc<HotFile>,
    ) -> Response {
        if answer::has_codings(&file.facts) && head.header("range").is_none() {
            if let Some(made) = self.precompressed(mount, head, name, file).await {
                return made;
            }
            let coding = compress::choose(head);
            if coding != Coding::Identity
                && let Some(coded) = self.memory.coded(mount.id, name, file, coding).await
            {
                return answer::file(head, &file.facts, Content::Memory(coded), coding);
            }
        }
        answer::file(head, &file.facts, file.content.clone(), Coding::Identity)
    }

    /// The file beside it that holds it in a coding which the client accepts.
    async fn precompressed(
        &self,
        mount: &Mount,
        head: &RequestHead,
        name: &[u8],
        file: &HotFile,
    ) -> Option<Response> {
        let coding = compress::choose_among(head, file.facts.precompressed.iter().copied());
        let name = [name, coding.extension().as_bytes()].concat();
        let made = match coding {
            Coding::Identity => return None,
            // What can't be read now is made here.
            _ => self.item(mount, &name).await.ok()?,
        };
        let (facts, content) = match made {
            Item::Hot(made) => (made.facts.in_place_of(&file.facts), made.content.clone()),
            Item::Unsteady(..) | Item::Folder(_) | Item::Nothing => return None,
        };
        Some(answer::file(head, &facts, content, coding))
    }

    /// A static site's own page for what it has not.
    async fn not_found(
        &self,
        routed: &RoutedSite,
        mount: &Mount,
        head: &RequestHead,
    ) -> Result<Response, ProxyError> {
        // What the configuration names as the page for a 404 comes from further up.
        let has_other = routed.ruled.as_ref().is_some_and(|ruled| ruled.page(404).is_some());
        if !routed.site.index || has_other || !is_read(head) {
            return Err(ProxyError::NotFound);
        }
        match self.item(mount, NOT_FOUND).await? {
            Item::Hot(file) => Ok(answer::error_page(404, &file.facts, file.content.clone())),
            Item::Unsteady(facts, file) => Ok(answer::error_page(404, &facts, Content::Disk(file))),
            Item::Folder(_) | Item::Nothing => Err(ProxyError::NotFound),
        }
    }

    /// From memory where that is trusted, else from the disk.
    pub(super) async fn item(&self, mount: &Mount, name: &[u8]) -> Result<Item, ProxyError> {
        let known = match self.memory.find(mount.id, name) {
            Remembered::Fresh(file) => return Ok(Item::Hot(file)),
            Remembered::Stale(file) => Some(file),
            Remembered::Unknown => None,
        };
        let (folders, relative) = (mount.folders.clone(), name.to_vec());
        let facts = known.as_ref().map(|file| file.facts.clone());
        let load = move || load(&folders, &relative, facts.as_ref());
        let loaded = tokio::task::spawn_blocking(load)
            .await
            .map_err(|_| ProxyError::TaskLost)?
            .map_err(ProxyError::File)?;
        Ok(match (loaded, known) {
            (Loaded::Unchanged, Some(file)) => Item::Hot(file),
            (Loaded::Whole(facts, content), _) => {
                Item::Hot(self.memory.keep(mount.id, name, facts, content))
            }
            (Loaded::Large(facts, file), _) => {
                Item::Hot(self.memory.keep_open(mount.id, name, facts, file))
            }
            (loaded, known) => {
                if known.is_some() {
                    self.memory.forget(mount.id, name);
                }
                match loaded {
                    Loaded::Unsteady(facts, file) => Item::Unsteady(facts, Arc::new(file)),
                    Loaded::Folder(folder) => Item::Folder(folder),
                    _ => Item::Nothing,
                }
            }
        })
    }
}

fn served(response: Response, exchange: &mut Exchange) -> Response {
    exchange.clock.mark(Phase::App);
    exchange.answered(response.status, ServedBy::Static);
    response
}

fn is_read(head: &RequestHead) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
}

/// A static site is served from its root, where its configuration lies too.
fn is_private(relative: &[u8]) -> bool {
    onebox_config::PRIVATE_FILES.iter().any(|file| file.as_bytes() == relative)
}
