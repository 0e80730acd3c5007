//! From an archive to a release that is ready to start.

pub(crate) mod archive;
mod clone;
mod closed;
pub(crate) mod command;
mod copy;
pub(crate) mod detect;
#[cfg(test)]
mod end_to_end;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod health;
mod hooks;
mod in_place;
pub(crate) mod leftover;
mod owner;
mod packages;
mod persist;
pub(crate) mod plan;
pub(crate) mod prepare;
pub(crate) mod release;
mod release_id;
mod settings;
mod stage;
mod statics;
mod unreadable;
mod venv;
mod warnings;

pub(crate) use self::closed::close;
pub(crate) use self::in_place::plan_in_place;
pub(crate) use self::owner::{inherit, open_to, settle};
pub(crate) use self::prepare::{
    HalfRelease, NewFile, Prepared, StageContext, derive, prepare, receive, try_out,
};
pub(crate) use self::release_id::ReleaseIds;

#[cfg(test)]
mod tests {
    use onebox_config::SiteConfig;

    /// The configuration of a site without `onebox.toml`.
    pub(crate) fn config() -> SiteConfig {
        let folder = tempfile::tempdir().unwrap();
        onebox_config::load_site(folder.path(), None).unwrap()
    }
}
