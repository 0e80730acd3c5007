//! What a route has instead of its site: time, files, servers; and rules before servers of every language.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;

use crate::harness::{
    Answer, Connection, Nginx, SiteFolder, TestBox, free_address, get, uwsgi_can_be_built,
};
use crate::upstreams::{php, uwsgi};

/// Says what it is asked; below `/…/slow` it takes a while, or as long as it may.
const APP: &str = "import time

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path.endswith('/slow'):
        time.sleep(2)
    if path.endswith('/endless'):
        while True:
            time.sleep(0.05)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f\"python {path} {environ['REQUEST_URI']}\".encode()]
";

#[test]
fn a_route_has_a_time_files_and_servers_of_its_own() {
    if !Nginx::is_here() {
        return;
    }
    let nginx = Nginx::start(&["return 200 \"nginx $request_uri\";".to_owned()]);
    let site = SiteFolder::fixture("hello");
    site.write("app.py", APP);
    site.write("docs/a.txt", "a file of the route");
    site.write("files/a.txt", "a file of the site");
    site.write(
        "onebox.toml",
        &format!(
            "[static]\n'/files' = 'files'\n\
             [[upstream]]\nname = 'accounts'\nto = 'http://{}'\n\
             [[route]]\npath = '/hurried'\nharakiri = '1s'\n\
             [[route]]\npath = '/docs'\nstatic = 'docs'\n\
             [[route]]\npath = '/files/raw'\nstatic = false\n\
             [[route]]\npath = '/account'\nupstream = 'accounts'\n",
            nginx.addresses[0]
        ),
    );
    let appliance = TestBox::start();
    appliance.deploy(site.path()).ok();
    let at = |path: &str| {
        let answer = get(appliance.http, "localhost", path);
        (answer.status.as_u16(), answer.text())
    };
    let is = |text: &str| (200, text.to_owned());
    assert_eq!(at("/hurried/endless").0, 504);
    // What is too long there is not too long elsewhere.
    assert_eq!(at("/slow"), is("python /slow /slow"));
    assert_eq!(at("/docs/a.txt"), is("a file of the route"));
    assert_eq!(at("/docs/b.txt"), is("python /docs/b.txt /docs/b.txt"));
    assert_eq!(at("/files/a.txt"), is("a file of the site"));
    site.write("files/raw/a.txt", "nobody's to read");
    appliance.deploy(site.path()).ok();
    assert_eq!(at("/files/raw/a.txt"), is("python /files/raw/a.txt /files/raw/a.txt"));
    assert_eq!(at("/account/7?x"), is("nginx /account/7?x"));
    assert_eq!(at("/accounts"), is("python /accounts /accounts"));
}

#[test]
fn what_try_files_does_not_find_goes_on_to_python() {
    let site = SiteFolder::fixture("hello");
    site.write("app.py", APP);
    site.write("public/a.html", "the file");
    site.write("public/folder/index.html", "the index");
    site.write(
        "onebox.toml",
        "[[route]]\npath = '/docs'\nstatic = 'public'\nindex = 'index.html'\n\
         try-files = ['$uri', '$uri.html', '$uri/', '/front?from=$uri']\n\
         [[route]]\npath = '/plain'\nstatic = 'public'\ntry-files = ['$uri.html', '$uri']\n",
    );
    let appliance = TestBox::start();
    appliance.deploy(site.path()).ok();
    for (path, expected) in [
        ("/docs/a.html", "the file"),
        ("/docs/a", "the file"),
        ("/docs/folder/", "the index"),
        ("/docs/b?x=1", "python /front /docs/b?x=1"),
        ("/plain/a", "the file"),
        ("/plain/b?x=1", "python /plain/b /plain/b?x=1"),
    ] {
        let answer = get(appliance.http, "localhost", path);
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, expected), "{path}");
    }
}

fn ask(address: SocketAddr, path: &str) -> Answer {
    let request = Request::get(path).header("x-secret", "shh").body(Bytes::new()).unwrap();
    Connection::open(address, "localhost").unwrap().send(request).unwrap()
}

#[test]
fn rules_stand_before_servers_of_every_language() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("php.sock");
    let has_all = uwsgi_can_be_built() && Nginx::is_here();
    let Some(_php) = php(folder.path(), &socket).filter(|_| has_all) else { return };
    let address = free_address().to_string();
    let _uwsgi = uwsgi(&["--socket", &address]);
    let nginx =
        Nginx::start(&["return 200 \"$uri $args $http_x_set ${http_x_secret}-\";".to_owned()]);
    let site = SiteFolder::fixture("fronted");
    site.write(
        "public/x/rules.php",
        "<?php echo implode(' ', [$_SERVER['SCRIPT_NAME'], $_SERVER['QUERY_STRING'],\n\
         $_SERVER['HTTP_X_SET'], $_SERVER['HTTP_X_SECRET'] ?? '-']);",
    );
    let servers = [
        ("uwsgi", format!("uwsgi://{address}"), "/x/rules"),
        ("http", format!("http://{}", nginx.addresses[0]), "/x/rules"),
        ("php", format!("fastcgi://unix:{}", socket.display()), "/x/rules.php"),
    ];
    let sections = servers.iter().map(|(name, to, path)| {
        let root = if *name == "php" { "root = 'public'\n" } else { "" };
        format!(
            "[[upstream]]\nname = '{name}'\nto = '{to}'\n{root}\
             [[route]]\nregex = '^/{name}/(?<id>[0-9]+)$'\nrewrite = '{path}?id=$id'\nupstream = '{name}'\n\
             request-headers = {{ set = {{ X-Set = '{name}' }}, remove = ['X-Secret'] }}\n\
             headers = {{ set = {{ X-Rule = 'yes' }} }}\n\
             [[route]]\npath = '/{name}/office'\nupstream = '{name}'\nallow = ['192.0.2.0/24']\n\
             [[route]]\npath = '/{name}/moved'\nupstream = '{name}'\nredirect = '/{name}/1'\n"
        )
    });
    site.write("onebox.toml", &sections.collect::<String>());
    let appliance = TestBox::start();
    appliance.deploy(site.path()).ok();
    for (name, _, path) in &servers {
        let answer = ask(appliance.http, &format!("/{name}/7?a=b"));
        let expected = format!("{path} id=7&a=b {name} -");
        assert_eq!((answer.status.as_u16(), answer.text()), (200, expected), "{name}");
        assert_eq!(answer.header("x-rule"), "yes", "{name}");
        assert_eq!(ask(appliance.http, &format!("/{name}/office/plan")).status, 403, "{name}");
        let moved = ask(appliance.http, &format!("/{name}/moved"));
        assert_eq!(
            (moved.status.as_u16(), moved.header("location")),
            (302, &*format!("/{name}/1"))
        );
    }
}
