//! The step of the pipeline: from a path to the answer of a file, through the mounts of a site.

use std::sync::Arc;

use http::Method;
use onebox_metrics::{Phase, ServedBy};

use super::answer::{self, Content};
use super::facts::Facts;
use super::load::{Loaded, load};
use super::memory::{FileMemory, HotFile, Remembered};
use super::mount::{Mount, Target};
use crate::compress::{self, Coding};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{RequestHead, Response};
use crate::route::RoutedSite;

/// The file a site without an application shows for a folder, and for what it has not.
const INDEX: &[u8] = b"index.html";
const NOT_FOUND: &[u8] = b"404.html";

/// The static files of all sites.
#[derive(Default)]
pub(crate) struct StaticFiles {
    pub(super) memory: FileMemory,
}

/// What a name below a mount is.
enum Item {
    Hot(Arc<HotFile>),
    Large(Facts, std::fs::File),
    Folder,
    Nothing,
}

impl StaticFiles {
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
                    match self.named(routed, mount, head, relative, wants_folder).await? {
                        None if !goes_on => Some(self.not_found(routed, mount, head).await?),
                        answer => answer,
                    }
                }
            };
            let Some(response) = answer else { break };
            exchange.clock.mark(Phase::App);
            exchange.answered(response.status, ServedBy::Static);
            return Ok(Some(response));
        }
        Ok(None)
    }

    /// `None`: it names no file.
    async fn named(
        &self,
        routed: &RoutedSite,
        mount: &Mount,
        head: &RequestHead,
        relative: &[u8],
        wants_folder: bool,
    ) -> Result<Option<Response>, ProxyError> {
        if routed.site.index && is_private(relative) {
            return Ok(None);
        }
        let index: Vec<u8>;
        let name = match (wants_folder, routed.site.index) {
            (false, _) => relative,
            (true, true) if relative.is_empty() => INDEX,
            (true, true) => {
                index = [relative, b"/", INDEX].concat();
                &index
            }
            (true, false) => return Ok(None),
        };
        let item = self.item(mount, name).await?;
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        Ok(Some(match item {
            Item::Nothing => return Ok(None),
            Item::Folder if !routed.site.index || wants_folder => {
                return Ok(None);
            }
            _ if !is_read => answer::method_not_allowed(),
            Item::Folder => answer::to_folder(head),
            Item::Large(facts, file) => {
                answer::file(head, &facts, Content::Disk(file), Coding::Identity)
            }
            Item::Hot(file) => self.hot(mount, head, name, &file).await,
        }))
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
            let coding = compress::choose(head);
            if coding != Coding::Identity
                && let Some(coded) = self.memory.coded(mount.id, name, file, coding).await
            {
                return answer::file(head, &file.facts, Content::Memory(coded), coding);
            }
        }
        let content = Content::Memory(file.content.clone());
        answer::file(head, &file.facts, content, Coding::Identity)
    }

    /// A static site's own page for what it has not.
    async fn not_found(
        &self,
        routed: &RoutedSite,
        mount: &Mount,
        head: &RequestHead,
    ) -> Result<Response, ProxyError> {
        if !routed.site.index || !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(ProxyError::NotFound);
        }
        match self.item(mount, NOT_FOUND).await? {
            Item::Hot(file) => {
                Ok(answer::not_found_page(&file.facts, Content::Memory(file.content.clone())))
            }
            Item::Large(facts, file) => Ok(answer::not_found_page(&facts, Content::Disk(file))),
            Item::Folder | Item::Nothing => Err(ProxyError::NotFound),
        }
    }

    /// From memory where that is trusted, else from the disk.
    async fn item(&self, mount: &Mount, name: &[u8]) -> Result<Item, ProxyError> {
        let known = match self.memory.find(mount.id, name) {
            Remembered::Fresh(file) => return Ok(Item::Hot(file)),
            Remembered::Stale(file) => Some(file),
            Remembered::Unknown => None,
        };
        let (folders, relative) = (mount.folders.clone(), name.to_vec());
        let identity = known.as_ref().map(|file| file.facts.identity);
        let loaded = tokio::task::spawn_blocking(move || load(&folders, &relative, identity))
            .await
            .map_err(|_| ProxyError::TaskLost)?
            .map_err(ProxyError::File)?;
        Ok(match (loaded, known) {
            (Loaded::Unchanged, Some(file)) => Item::Hot(file),
            (Loaded::Whole(facts, content), _) => {
                Item::Hot(self.memory.keep(mount.id, name, facts, content))
            }
            (loaded, known) => {
                if known.is_some() {
                    self.memory.forget(mount.id, name);
                }
                match loaded {
                    Loaded::Open(facts, file) => Item::Large(facts, file),
                    Loaded::Folder => Item::Folder,
                    _ => Item::Nothing,
                }
            }
        })
    }
}

/// A static site is served from its root, where its configuration lies too.
fn is_private(relative: &[u8]) -> bool {
    onebox_config::PRIVATE_FILES.iter().any(|file| file.as_bytes() == relative)
}
