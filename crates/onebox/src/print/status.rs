//! The appliance and its sites as `onebox status` shows them.

use std::fmt::Write;

use onebox_supervisor::api::{
    ApplianceStatus, CacheStatus, CertificateSource, CertificateStatus, DroppedClients, Mode,
    ServerHealth, ServerState, SiteState, SiteStatus, WorkerState,
};

use super::table::Columns;
use super::{clock, style};

/// Everything, a site a line.
pub(crate) fn appliance(status: &ApplianceStatus, now_ms: i64) -> String {
    let mut text = String::new();
    let engine = match &status.engine {
        Some(engine) => format!("engine generation {} (pid {})", engine.generation, engine.pid),
        None => "engine starting".to_owned(),
    };
    let started = clock::ago(status.started_ms, now_ms);
    let _ = writeln!(
        text,
        "{} {}, pid {}, started {started}, {engine}",
        style::strong("onebox"),
        status.version,
        status.pid
    );
    let _ = writeln!(text, "sites      {}", style::address(sites(&status.http, &status.https)));
    let _ = writeln!(text, "dashboard  {}", style::address(with_scheme(&status.admin)));
    let _ = writeln!(text, "state      {}", status.state_dir);
    if let Some(dropped) = dropped(&status.dropped) {
        let _ = writeln!(text, "sent away  {dropped}");
    }
    text.push('\n');
    if status.sites.is_empty() {
        text.push_str("no site yet; `onebox deploy PATH` makes one");
        return text;
    }
    let mut table = Columns::new(&["site", "state", "mode", "kind", "release", "address"]);
    for site in &status.sites {
        let url = site.urls.first().map_or("-", String::as_str);
        let name = site.name.as_str();
        match &site.release {
            Some(release) => {
                table.row([name, state(site.state), mode(site.mode), &site.kind, release, url]);
            }
            // Nothing of it was ever on line: the rest is not known.
            None => table.row([name, state(site.state), "-", "-", "-", "-"]),
        }
    }
    text.push_str(&table.render());
    for site in &status.sites {
        if site.maintenance {
            let _ = write!(text, "\n{} {}: in maintenance", style::warning("!"), site.name);
        }
        if let Some(problem) = &site.problem {
            let _ = write!(text, "\n{} {}: {problem}", style::bad("✗"), site.name);
        }
    }
    text
}

/// Who got to no site; `None`: everybody did.
pub(crate) fn dropped(clients: &DroppedClients) -> Option<String> {
    let reasons = [
        (clients.malformed, "sent what is no request"),
        (clients.slow, "were too slow with it"),
        (clients.handshake, "agreed on no keys"),
        (clients.flood, "flooded their connection"),
        (clients.crowd, "had too many connections"),
        (clients.in_the_way, "said nothing while others waited"),
        (clients.no_room, "found no room"),
        (clients.no_memory, "found no memory"),
        (clients.refused, "were refused by a rule for their address"),
    ];
    let told = reasons.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<_> = told.map(|(count, what)| format!("{count} {what}")).collect();
    (!told.is_empty()).then(|| format!("clients: {}", told.join(", ")))
}

/// One site in full.
pub(crate) fn site(site: &SiteStatus, now_ms: i64) -> String {
    let mut text = String::new();
    let shown = match site.state {
        SiteState::Running => style::good(state(site.state)),
        SiteState::Failed => style::bad(state(site.state)),
        SiteState::Starting | SiteState::Idle | SiteState::Stopped => {
            style::warning(state(site.state))
        }
    };
    let _ = writeln!(text, "{}  {shown}", style::strong(&site.name));
    if site.maintenance {
        let _ = writeln!(text, "{}", style::warning("in maintenance: everybody gets 503"));
    }
    if let Some(problem) = &site.problem {
        let _ = writeln!(text, "problem    {problem}");
    }
    let python =
        site.python.as_ref().map(|version| format!(", Python {version}")).unwrap_or_default();
    let _ = writeln!(text, "kind       {}, {}{python}", site.kind, mode(site.mode));
    let release = match (&site.release, site.released_ms) {
        (Some(release), Some(at_ms)) => {
            format!("{release}, went live {}", clock::ago(at_ms, now_ms))
        }
        (Some(release), None) => release.clone(),
        (None, _) => "none".to_owned(),
    };
    let _ = writeln!(text, "release    {release}");
    for url in &site.urls {
        let _ = writeln!(text, "address    {}", style::address(url));
    }
    for certificate in &site.certificates {
        let _ = writeln!(text, "tls        {}", certificate_line(certificate));
    }
    for upstream in &site.upstreams {
        let _ = writeln!(text, "upstream   {}", super::upstream_place(upstream));
        for server in &upstream.servers {
            let _ = writeln!(text, "           {}", server_line(server));
        }
    }
    if let Some(cache) = &site.cache {
        let _ = writeln!(text, "cache      {}", cache_line(cache));
    }
    if !site.workers.is_empty() {
        let names =
            ["worker", "pid", "state", "release", "threads", "requests", "recycles", "started"];
        let mut table = Columns::new(&names);
        for worker in &site.workers {
            table.row([
                worker.name.clone(),
                worker.pid.to_string(),
                worker_state(worker.state).to_owned(),
                worker.release.clone(),
                worker.threads.to_string(),
                worker.requests.to_string(),
                worker.recycles.to_string(),
                clock::ago(worker.started_ms, now_ms),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
        for worker in &site.workers {
            if let (Some(reason), WorkerState::Running) = (&worker.last_recycle, worker.state) {
                let _ = write!(text, "\n{} was replaced last because {reason}", worker.name);
            }
        }
    }
    text.trim_end().to_owned()
}

/// A server of an upstream, and how it is.
fn server_line(server: &ServerHealth) -> String {
    let state = match server.state {
        ServerState::Unknown => style::faint("not known yet"),
        ServerState::Up => style::good("up"),
        ServerState::Down => style::bad("down"),
        ServerState::Unhealthy => style::bad("unhealthy"),
        ServerState::Full => style::warning("full"),
    };
    let mut line = format!("{}  {state}", server.address);
    if server.requests > 0 {
        let _ = write!(line, ", {} in flight", server.requests);
    }
    if let Some(problem) = &server.problem {
        let _ = write!(line, ": {problem}");
    }
    line
}

/// Who vouches for which hosts, until when.
pub(crate) fn certificate_line(certificate: &CertificateStatus) -> String {
    let source = match certificate.source {
        CertificateSource::Own => "own certificate",
        CertificateSource::Acme if certificate.issuer.is_none() => "ordered",
        CertificateSource::Acme => "by ACME",
        CertificateSource::Internal => "the box's own authority",
    };
    let mut text = format!("{}  {source}", certificate.names.join(", "));
    if let (Some(issuer), Some(until_ms)) = (&certificate.issuer, certificate.not_after_ms) {
        let _ = write!(text, ", by {issuer} until {}", clock::day(until_ms));
    }
    if let Some(renews_ms) = certificate.renews_ms {
        let _ = write!(text, ", renewed from {}", clock::day(renews_ms));
    }
    if certificate.is_ordering {
        text.push_str(", an order is under way");
    }
    if let Some(problem) = &certificate.problem {
        let _ = write!(text, "\n           {} {problem}", style::bad("✗"));
        if let Some(next_ms) = certificate.next_try_ms {
            let _ = write!(text, "; next try {}", clock::local(next_ms));
        }
    }
    text
}

/// `running` and the like, of a site.
pub(crate) fn state(state: SiteState) -> &'static str {
    match state {
        SiteState::Starting => "starting",
        SiteState::Running => "running",
        SiteState::Idle => "idle",
        SiteState::Stopped => "stopped",
        SiteState::Failed => "failed",
    }
}

/// `running` and the like, of a worker.
pub(crate) fn worker_state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "starting",
        WorkerState::Running => "running",
        WorkerState::Finishing => "finishing",
    }
}

/// `embedded` and the like.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Embedded => "embedded",
        Mode::Isolated => "isolated",
        Mode::Static => "static",
        Mode::Proxied => "proxied",
    }
}

/// Addresses as something to open; an address for every interface is opened as this machine.
pub(crate) fn with_scheme(addresses: &[String]) -> String {
    urls("http", addresses).join(", ")
}

/// The same for the addresses of sites, first those without TLS.
pub(crate) fn sites(http: &[String], https: &[String]) -> String {
    [urls("http", http), urls("https", https)].concat().join(", ")
}

fn urls(scheme: &str, addresses: &[String]) -> Vec<String> {
    let url = |address: &String| {
        let address = address.replace("0.0.0.0", "localhost").replace("[::]", "localhost");
        if address.contains("://") { address } else { format!("{scheme}://{address}/") }
    };
    addresses.iter().map(url).collect()
}

fn cache_line(cache: &CacheStatus) -> String {
    let ratio = match cache.hit_ratio {
        Some(ratio) => format!("{:.0}% of requests answered", ratio * 100.0),
        None => "nothing asked for yet".to_owned(),
    };
    let CacheStatus { hits, stale, revalidated, misses, bypassed, .. } = cache;
    format!(
        "{ratio}: {hits} fresh, {stale} stale, {revalidated} revalidated, {misses} missed, {bypassed} past it; {} KB stored",
        cache.stored_bytes.div_ceil(1024)
    )
}

#[cfg(test)]
mod tests {
    use onebox_supervisor::api::{EngineStatus, UpstreamRoute, WorkerStatus};

    use super::*;

    fn blog() -> SiteStatus {
        SiteStatus {
            name: "blog".into(),
            state: SiteState::Failed,
            maintenance: false,
            problem: Some("ModuleNotFoundError: No module named 'flask'".into()),
            mode: Mode::Embedded,
            release: Some("20261120-114213-3f2a".into()),
            released_ms: Some(0),
            domains: vec![],
            catch_all: true,
            urls: vec!["http://localhost:8080/".into()],
            kind: "Flask".into(),
            python: Some("3.11.7".into()),
            upstreams: vec![],
            certificates: vec![CertificateStatus {
                source: CertificateSource::Own,
                names: vec!["a.example".into()],
                issuer: Some("An Authority".into()),
                not_before_ms: Some(0),
                not_after_ms: Some(129_600_000),
                renews_ms: None,
                is_ordering: false,
                problem: Some("it is wrong".into()),
                next_try_ms: None,
            }],
            workers: vec![],
            cache: None,
        }
    }

    fn worker() -> WorkerStatus {
        WorkerStatus {
            name: "blog.1".into(),
            pid: 4711,
            release: "20261120-114213-3f2a".into(),
            started_ms: 25_000,
            threads: 4,
            state: WorkerState::Running,
            requests: 12,
            running: 1,
            current: None,
            recycles: 3,
            last_recycle: Some("it has served 5000 requests (`max-requests`)".into()),
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn the_appliance_lists_its_sites_and_their_problems() {
        let status = ApplianceStatus {
            version: "0.1.0".into(),
            pid: 7,
            started_ms: 0,
            state_dir: "/var/lib/onebox".into(),
            http: vec!["0.0.0.0:8080".into()],
            https: vec!["0.0.0.0:8443".into()],
            admin: vec!["127.0.0.1:8081".into()],
            engine: Some(EngineStatus { generation: 2, pid: 8, started_ms: 0, crashes: 0 }),
            sites: vec![blog()],
            dropped: DroppedClients { malformed: 12, flood: 2, ..DroppedClients::default() },
            sample: None,
        };
        insta::assert_snapshot!(plain(&appliance(&status, 30_000)));
    }

    #[test]
    fn a_site_is_shown_in_full() {
        insta::assert_snapshot!(plain(&site(&blog(), 30_000)));
    }

    #[test]
    fn servers_of_upstreams_are_listed_with_how_they_are() {
        let server = |address: &str, state, requests, problem: Option<&str>| ServerHealth {
            address: address.to_owned(),
            state,
            requests,
            problem: problem.map(str::to_owned),
        };
        let servers = vec![
            server("http://a:1", ServerState::Up, 2, None),
            server("http://b:1", ServerState::Down, 0, Some("no connection: Connection refused")),
            server("http://c:1", ServerState::Unknown, 0, None),
        ];
        let upstream = UpstreamRoute { path: Some("/api".into()), name: None, servers };
        let site = SiteStatus { upstreams: vec![upstream], certificates: vec![], ..blog() };
        insta::assert_snapshot!(plain(&super::site(&site, 30_000)));
    }

    #[test]
    fn workers_are_listed_with_why_they_were_replaced() {
        let finishing = WorkerStatus { pid: 4700, state: WorkerState::Finishing, ..worker() };
        let workers = vec![worker(), finishing];
        let state = SiteState::Running;
        let site = SiteStatus { state, problem: None, workers, ..blog() };
        insta::assert_snapshot!(plain(&super::site(&site, 30_000)));
    }
}
