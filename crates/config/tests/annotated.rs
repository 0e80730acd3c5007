//! The annotated files in `config/` name every key, and the defaults they show are the defaults of the code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onebox_config::site::{
    ActiveCheck, Application, Auth, CacheRules, ErrorPage, HeaderRules, Limit, LimitKey, OwnAnswer,
    OwnCertificate, Pattern, ProcessLimits, ProcessProperties, Protocol, ProxyProtocol,
    PythonChoice, Rate, Route, RouteFiles, Routing, Rules, Script, Server, ServerAddress, SiteLog,
    SiteTls, SocketAddress, SocketOwner, Upstream, UwsgiSockets, site_settings,
};
use onebox_config::{
    AccessLists, Account, AcmeSettings, BoxConfig, BoxFlags, Clients, ConfigError, Limits,
    SiteConfig, group_number, load_box, parse_site,
};

fn annotated(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The file with its settings switched on: `#key = value` and `#[section]`, where prose has a space after the `#`.
fn switched_on(text: &str) -> String {
    let setting = |line: &str| match line.strip_prefix('#') {
        Some(rest)
            if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '[' || c == '"') =>
        {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    text.lines().map(setting).collect::<Vec<_>>().join("\n")
}

/// The keys that a text sets or shows.
fn keys(text: &str) -> BTreeSet<String> {
    let key = |line: &str| {
        let line = line.trim_start_matches(['#', ' ']);
        let (key, _) = line.split_once(" = ")?;
        (!key.contains(' ')).then(|| key.to_owned())
    };
    text.lines().filter_map(key).collect()
}

/// The keys that the code knows: what it offers when it is asked for one that nothing resembles.
fn known(error: &ConfigError) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for problem in &error.problems {
        let offered =
            problem.hint.as_deref().and_then(|hint| hint.strip_prefix("the keys here are: "));
        known.extend(offered.unwrap().split(", ").map(str::to_owned));
    }
    known
}

/// An entry of `to` with nothing said about it.
fn server(protocol: Protocol, address: ServerAddress) -> Server {
    Server { protocol, address, weight: 1, backup: false, ca_file: None }
}

/// What the examples say about requests.
fn routing() -> Routing {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let target = |text: &str| {
        let text = format!("[[route]]\npath = '/account'\nredirect = '{text}'");
        let config = parse_site(&text, Path::new("onebox.toml")).unwrap();
        match config.routing.routes.into_iter().next().unwrap().answer {
            Some(OwnAnswer::Redirect(target, _)) => target,
            other => panic!("{other:?}"),
        }
    };
    let try_files = parse_site("try-files = ['$uri', '/index.html']", Path::new("onebox.toml"));
    let page = |statuses, page: &str| ErrorPage { statuses, page: page.into() };
    let hash =
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$WmXQ0RfnHGMFUS4GSM1hFWmXQ0RfnHGMFUS4GSM1hFU";
    Routing {
        canonical_host: Some("mysite.example.com".to_owned()),
        maintenance: false,
        maintenance_page: Some("maintenance.html".into()),
        rules: Rules {
            headers: HeaderRules {
                remove: vec!["X-Powered-By".to_owned()],
                set: vec![field("X-Frame-Options", "DENY")],
                add: vec![
                    field("Link", "</a.css>; rel=preload"),
                    field("Link", "</b.css>; rel=preload"),
                ],
            },
            request_headers: HeaderRules {
                set: vec![field("X-Served-By", "onebox")],
                ..HeaderRules::default()
            },
            auth: Some(Auth::Basic {
                realm: "Restricted".to_owned(),
                users: vec![field("ann", hash)],
            }),
            allow: Some(vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1/32".parse().unwrap()]),
            deny: Some(vec!["203.0.113.0/24".parse().unwrap()]),
            limits: Some(vec![Limit {
                rate: Some(Rate { requests: 10, per: Duration::from_secs(1), burst: 40 }),
                concurrent: Some(20),
                by: LimitKey::Address,
            }]),
            index: Some(vec!["index.html".to_owned(), "index.htm".to_owned()]),
            listing: Some(false),
            try_files: try_files.unwrap().routing.rules.try_files,
            errors: vec![page(404..=404, "errors/404.html"), page(500..=599, "errors/sorry.html")],
        },
        routes: vec![Route {
            pattern: Pattern::Prefix("/account".to_owned()),
            answer: Some(OwnAnswer::Redirect(target("https://login.example.com$request_uri"), 308)),
            rewrite: None,
            files: Some(RouteFiles::Folder("account/files".into())),
            upstream: Some("accounts".to_owned()),
            max_body: Some(1 << 30),
            harakiri: Some(Duration::from_secs(600)),
            rules: Rules { auth: Some(Auth::Open), ..Rules::default() },
            cache: CacheRules {
                enabled: Some(true),
                ttl: Some(Duration::from_secs(1)),
                ..CacheRules::default()
            },
        }],
        cache: CacheRules {
            enabled: Some(CacheRules::default().is_on()),
            size: Some(CacheRules::DEFAULT.size),
            disk: Some(1 << 30),
            max_object: Some(CacheRules::DEFAULT.max_object),
            ttl: Some(Duration::from_secs(10)),
            stale_while_revalidate: Some(Duration::ZERO),
            stale_if_error: Some(Duration::ZERO),
            lock_timeout: Some(CacheRules::DEFAULT.lock_timeout),
            ignore_reload: Some(false),
            bypass_cookie: Some(vec!["sessionid".to_owned()]),
            bypass_header: Some(vec!["X-No-Cache".to_owned()]),
            bypass_query: Some(vec!["nocache".to_owned()]),
        },
    }
}

/// A `box.toml` read without any other source that a developer's machine could have.
fn load(text: &str) -> Result<BoxConfig, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("box.toml"), text).unwrap();
    let config_dir = Some(folder.path().to_owned());
    let state_dir = Some(folder.path().to_owned());
    load_box(BoxFlags { config_dir, state_dir, ..BoxFlags::default() })
}

#[test]
fn the_annotated_site_file_shows_the_defaults_and_names_every_key() {
    let text = annotated("onebox.toml");
    let unknown = "0123456789 = 1\n[health]\n0123456789 = 1\n[hooks]\n0123456789 = 1\n\
                   [[upstream]]\nto = 'http://a'\n0123456789 = 1\n[upstream.health]\n0123456789 = 1\n\
                   [headers]\n0123456789 = 1\n[auth]\nusers = { a = '$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy' }\n0123456789 = 1\n\
                   [[route]]\npath = '/a'\n0123456789 = 1\n[tls]\n0123456789 = 1\n[cache]\n0123456789 = 1\n\
                   [[limit]]\nrate = '1/s'\n0123456789 = 1\n[log]\n0123456789 = 1\n";
    let mut expected = known(&parse_site(unknown, Path::new("onebox.toml")).unwrap_err());
    for section in [
        "env",
        "health",
        "hooks",
        "upstream",
        "headers",
        "request-headers",
        "errors",
        "route",
        "limit",
        "tls",
        "log",
        "sendfile",
    ] {
        assert!(expected.remove(section), "{section}");
    }
    let own = [
        "\"/protected\"",
        "\"/static\"",
        "DJANGO_SETTINGS_MODULE",
        "\"404\"",
        "\"5xx\"",
        "upstream",
    ];
    expected.extend(own.map(str::to_owned));
    assert_eq!(keys(&text), expected);
    assert_eq!(parse_site(&text, Path::new("onebox.toml")).unwrap(), SiteConfig::default());

    let shown = parse_site(&switched_on(&text), Path::new("onebox.toml")).unwrap();
    let mut account = Account::find("www-data").expect("this test needs Debian's www-data");
    account.groups.push(group_number("adm").expect("and its group adm"));
    account.groups.sort_unstable();
    // What has no default is shown as an example; everything else must be the default.
    let expected = SiteConfig {
        name: Some("mysite".to_owned()),
        domains: vec!["mysite.example.com".to_owned(), "www.mysite.example.com".to_owned()],
        path: "/blog".to_owned(),
        application: Some(Application::Module("mysite.wsgi:application".to_owned())),
        python: Some(PythonChoice::Version("3.11".to_owned())),
        idle: Some(Duration::from_secs(15 * 60)),
        process_limits: ProcessLimits {
            max_requests: Some(5000),
            max_lifetime: Some(Duration::from_secs(86_400)),
            reload_on_rss: Some(512 << 20),
            memory_limit: Some(1 << 30),
        },
        sockets: UwsgiSockets {
            addresses: vec![
                SocketAddress::Unix(PathBuf::from("run/mysite.sock")),
                SocketAddress::Tcp("127.0.0.1:8000".parse().unwrap()),
            ],
            owner: Some(SocketOwner {
                user: Some("www-data".to_owned()),
                group: Some("www-data".to_owned()),
            }),
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            ..UwsgiSockets::default()
        },
        persist: vec![PathBuf::from("db.sqlite3"), PathBuf::from("media")],
        static_folders: vec![("/static".to_owned(), PathBuf::from("static"))],
        sendfile: vec![("/protected".to_owned(), PathBuf::from("protected"))],
        process: ProcessProperties {
            account: Some(account),
            chdir: Some("data".into()),
            umask: Some(0o027),
            nice: Some(5),
            limit_nofile: Some(4096),
            limit_as: Some(2 << 30),
            limit_nproc: Some(512),
            read_only_system: false,
        },
        env: [("DJANGO_SETTINGS_MODULE".to_owned(), "mysite.settings".to_owned())].into(),
        routing: routing(),
        release_hooks: Some(vec![
            "python manage.py migrate --noinput".to_owned(),
            "python manage.py collectstatic --noinput".to_owned(),
        ]),
        upstreams: vec![Upstream {
            name: Some("accounts".to_owned()),
            path: Some("/api".to_owned()),
            servers: vec![
                server(Protocol::Http, ServerAddress::Tcp("127.0.0.1".to_owned(), 3000)),
                Server {
                    weight: 2,
                    ..server(Protocol::Uwsgi, ServerAddress::Unix("/run/uwsgi/app.sock".into()))
                },
                Server {
                    backup: true,
                    ..server(Protocol::FastCgi, ServerAddress::Unix("/run/php/php-fpm.sock".into()))
                },
                Server {
                    ca_file: Some("/etc/ssl/inside.pem".into()),
                    ..server(Protocol::Https, ServerAddress::Tcp("10.0.0.7".to_owned(), 443))
                },
            ],
            proxy_protocol: Some(ProxyProtocol::V2),
            script: Script { root: "public".into(), ..Upstream::default().script },
            active: Some(ActiveCheck::default()),
            ..Upstream::default()
        }],
        tls: SiteTls {
            own: Some(OwnCertificate {
                certificate: "/etc/letsencrypt/live/mysite/fullchain.pem".into(),
                key: "/etc/letsencrypt/live/mysite/privkey.pem".into(),
            }),
            redirect: Some(true),
            hsts: Some(Duration::from_secs(365 * 86_400)),
        },
        log: SiteLog { rotate_age: Some(Duration::from_secs(86_400)), ..SiteLog::default() },
        ..SiteConfig::default()
    };
    assert_eq!(shown, expected);
}

/// A key that is new shows up here, and whoever adds it says who goes by it.
#[test]
fn who_goes_by_each_key_is_known() {
    let settings = site_settings(&switched_on(&annotated("onebox.toml"))).unwrap();
    let mut keys: Vec<_> = settings
        .iter()
        .map(|setting| {
            let key = setting.name.split(['.', '[']).next().unwrap();
            format!("{:?}: {key}", setting.concern)
        })
        .collect();
    keys.sort();
    keys.dedup();
    insta::assert_snapshot!(keys.join("\n"));
}

#[test]
fn the_annotated_box_file_shows_the_defaults_and_names_every_key() {
    let text = annotated("box.toml");
    let unknown = "[listen]\n0123456789 = 1\n[acme]\n0123456789 = 1\n[limits]\n0123456789 = 1\n[releases]\n0123456789 = 1\n[metrics]\n0123456789 = 1\n[process]\n0123456789 = 1\n[tls]\n0123456789 = 1\n[log]\n0123456789 = 1\n[access]\n0123456789 = 1\n";
    assert_eq!(keys(&text), known(&load(unknown).unwrap_err()));
    let (default, shown) = (load(&text).unwrap(), load(&switched_on(&text)).unwrap());
    // The defaults that depend on who asks: root's ports are 80 and 443.
    assert_eq!((shown.http[0].port(), shown.https[0].port()), (8080, 8443));
    assert!([80, 8080].contains(&default.http[0].port()));
    assert_eq!(shown.user, Account::find("www-data"));
    assert_eq!(shown.tls_folders, [Path::new("/etc/letsencrypt")]);
    let clients = Clients {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ..default.clients
    };
    assert_eq!(shown.clients, clients);
    let access = AccessLists {
        allow: vec!["203.0.113.7/32".parse().unwrap()],
        deny: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/64".parse().unwrap()],
    };
    assert_eq!(shown.access, access);
    let expected = AcmeSettings {
        email: Some("me@example.com".to_owned()),
        ca_file: Some("/etc/onebox/ca.pem".into()),
        ..default.acme
    };
    assert_eq!(shown.acme, expected);
    let limits = Limits {
        max_connections_per_client: Some(200),
        max_memory_bytes: Some(2 << 30),
        ..default.limits
    };
    assert_eq!(shown.limits, limits);
    assert_eq!(
        (shown.admin, shown.keep_releases, shown.metrics, shown.log_budget),
        (default.admin, default.keep_releases, default.metrics, default.log_budget)
    );
}
