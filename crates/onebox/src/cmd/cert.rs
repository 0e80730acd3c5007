//! `onebox cert`: which certificate answers to which host, and another one.

use http::Method;
use onebox_supervisor::api::{ApplianceStatus, CertificateStatus, Renewal};
use serde::Serialize;

use crate::cli::{CertAction, CertArgs, SiteJsonArgs, StatusArgs};
use crate::client::{Client, segment};
use crate::print::{self, status::certificate_line, style};
use crate::report::Failure;

/// The certificates of a site.
#[derive(Serialize)]
struct Certificates {
    site: String,
    certificates: Vec<CertificateStatus>,
}

/// Prints them, or orders one.
pub(crate) async fn cert(client: &Client, arguments: CertArgs) -> Result<(), Failure> {
    match arguments.action {
        Some(CertAction::Renew(arguments)) => renew(client, arguments).await,
        None => show(client, arguments.shown).await,
    }
}

async fn renew(client: &Client, SiteJsonArgs { site, json }: SiteJsonArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/sites/{}/certificate/renew", segment(&site));
    let renewal: Renewal = client.call(Method::POST, &path, None::<&()>).await?;
    if json {
        return print::json(&renewal);
    }
    let hosts = renewal.hosts.join(", ");
    anstream::println!(
        "a certificate for {hosts} is ordered; `onebox cert {site}` shows what comes of it"
    );
    Ok(())
}

/// Of one site or of all.
async fn show(client: &Client, arguments: StatusArgs) -> Result<(), Failure> {
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
