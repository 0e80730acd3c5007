//! Certificates of the sites that run, and how engines learn of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use onebox_config::Account;
use onebox_config::site::{Route, RouteFiles, Routing, Upstream};
use onebox_proxy::Roots;
use sysinfo::Networks;

use super::{Appliance, Layout, OperationFailure};
use crate::certificates::acme::folder_name;
use crate::certificates::own::{OwnError, OwnFiles};
use crate::deploy::plan::RunPlan;
use crate::listeners::ListenerSet;
use crate::users::as_user;

/// How often files that sites name are looked at, and what gets old.
const LOOKS: Duration = Duration::from_secs(5);

impl Appliance {
    /// Brings the certificates up to date for what a layout says, and tells the engines what is new. Where nothing speaks TLS
    /// there are none.
    pub(super) async fn renew_certificates(&self, layout: &Layout) {
        let https = self.settings().https;
        if https.iter().next().is_none() {
            return;
        }
        let folders = self.settings().config.tls_folders.clone();
        let wanted: Vec<_> =
            layout.sites().map(|placed| placed.release.wanted_certificates(&folders)).collect();
        let directory = self.settings().config.acme.directory.clone().filter(|_| !self.in_place);
        let orders =
            directory.map(|directory| self.paths.certificates().join(folder_name(&directory)));
        let certificates = Arc::clone(&self.certificates);
        let renewed = tokio::task::spawn_blocking(move || {
            certificates.renew(&wanted, &addresses(&https), orders)
        });
        match renewed.await {
            Ok(news) => {
                let data = self.certificates.data();
                for generation in self.generations().into_iter().filter(|_| news.engines) {
                    // What goes wrong is told there; one that takes no orders is replaced.
                    generation.set_tls(Arc::clone(&data)).ok();
                }
                if news.engines || news.people {
                    self.announce();
                }
            }
            Err(error) => tracing::error!(%error, "the certificates could not be looked at"),
        }
    }

    /// Looks at the certificates until the appliance ends.
    pub(super) fn watch_certificates(self: &Arc<Self>) {
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOKS) => {}
                    () = appliance.shutdown.cancelled() => return,
                }
                appliance.renew_certificates(&appliance.layout()).await;
            }
        });
    }
}

/// Refuses a release whose own certificate can't be used, or whose key everybody could ask for. Blocks on the disk.
///
/// # Errors
/// [`OperationFailure`] that says what is wrong.
pub(super) fn check(
    own: &OwnFiles,
    routing: &Routing,
    plan: &RunPlan,
) -> Result<(), OperationFailure> {
    let failure = |reason: String, hint: &str| OperationFailure {
        hint: hint.to_owned(),
        ..OperationFailure::new("certificate", reason)
    };
    let of_route = |route: &Route| match &route.files {
        Some(RouteFiles::Folder(folder)) => Some(folder.clone()),
        Some(RouteFiles::None) | None => None,
    };
    let of_site = plan.statics.iter().flat_map(|(_, folders)| folders.clone());
    for folder in of_site.chain(routing.routes.iter().filter_map(of_route)) {
        let Ok(below) = own.files.key.strip_prefix(folder) else { continue };
        let is_hidden = below.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
        if !is_hidden {
            return Err(failure(
                format!(
                    "the key {} lies in a folder whose files are served",
                    own.files.key.display()
                ),
                "put it into a folder whose name begins with a dot, or name it by an absolute path outside of the site",
            ));
        }
    }
    own.read().map(drop).map_err(|error| {
        let hint = match error {
            OwnError::Closed { .. } => {
                "let its user read it, put it into the site (in a folder whose name begins with a dot), or allow its folder in \
                 box.toml: `folders = [\"/etc/letsencrypt\"]` under [tls]"
            }
            _ => "set `certificate` and `key` under [tls] in onebox.toml right",
        };
        failure(error.to_string(), hint)
    })
}

/// Refuses a release whose upstreams name authorities that the engine's user can't read; `None`: the supervisor's own. Blocks on
/// the disk.
///
/// # Errors
/// [`OperationFailure`] that says what is wrong.
pub(super) fn check_authorities(
    upstreams: &[Upstream],
    user: Option<&Account>,
) -> Result<(), OperationFailure> {
    let servers = upstreams.iter().flat_map(|upstream| &upstream.servers);
    for file in servers.filter_map(|server| server.ca_file.clone()) {
        let read = move || Roots::File(&file).client().map(drop);
        let outcome = match user {
            Some(user) => as_user(user, read),
            None => read(),
        };
        outcome.map_err(|error| OperationFailure {
            hint: "set `ca-file` under [[upstream]] in onebox.toml right".to_owned(),
            ..OperationFailure::new("certificate", error.to_string())
        })?;
    }
    Ok(())
}

/// By which addresses this machine is reached at these listeners.
fn addresses(listeners: &ListenerSet) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for address in listeners.addresses() {
        match address.ip() {
            ip if !ip.is_unspecified() => all.push(ip.to_canonical()),
            _ => {
                let networks = Networks::new_with_refreshed_list();
                let found = networks.iter().flat_map(|networks| networks.values());
                let found = found.flat_map(|network| network.ip_networks());
                all.extend(found.map(|network| network.addr));
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}
