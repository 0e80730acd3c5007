//! `onebox cert`: which certificate answers to which host.

use onebox_supervisor::api::{ApplianceStatus, CertificateStatus};
use serde::Serialize;

use crate::cli::StatusArgs;
use crate::client::{Client, segment};
use crate::print::{self, status::certificate_line, style};
use crate::report::Failure;

/// The certificates of a site.
#[derive(Serialize)]
struct Certificates {
    site: String,
    certificates: Vec<CertificateStatus>,
}

/// Prints them, of one site or of all.
pub(crate) async fn cert(client: &Client, arguments: StatusArgs) -> Result<(), Failure> {
    let sites = match &arguments.site {
        Some(site) => vec![client.get(&format!("/api/v1/sites/{}", segment(site))).await?],
        None => client.get::<ApplianceStatus>("/api/v1/status").await?.sites,
    };
    let all: Vec<_> = sites
        .into_iter()
        .map(|site: onebox_supervisor::api::SiteStatus| Certificates {
            site: site.name,
            certificates: site.certificates,
        })
        .collect();
    if arguments.json {
        return print::json(&all);
    }
    if all.iter().all(|site| site.certificates.is_empty()) {
        anstream::println!(
            "no certificate: no site is served with TLS (`listen.https` in box.toml)"
        );
    }
    for Certificates { site, certificates } in all {
        for certificate in &certificates {
            anstream::println!("{}  {}", style::strong(&site), certificate_line(certificate));
        }
    }
    Ok(())
}
