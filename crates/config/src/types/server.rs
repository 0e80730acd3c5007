//! A server behind the proxy as a URL: `http://127.0.0.1:3000`, `uwsgi://unix:/run/app.sock`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::{HostName, Invalid, site_path};
use crate::site::{Protocol, Server, ServerAddress};

/// One server, with the weight that it has where none is given.
pub(crate) fn server(text: &str) -> Result<Server, Invalid> {
    let refused = || Invalid::new(format!("\"{text}\" is not a server"));
    let example = "write it so: \"http://127.0.0.1:3000\", \"uwsgi://unix:/run/app.sock\", \"fastcgi://127.0.0.1:9000\"";
    let (scheme, place) = text.split_once("://").ok_or_else(|| refused().hint(example))?;
    let protocol = match scheme {
        "http" => Protocol::Http,
        "https" => Protocol::Https,
        "uwsgi" => Protocol::Uwsgi,
        "fastcgi" => Protocol::FastCgi,
        "ws" | "wss" => {
            let http = if scheme == "ws" { "http" } else { "https" };
            return Err(refused().hint(format!(
                "a WebSocket begins as HTTP: write \"{http}://{place}\", and upgrades pass"
            )));
        }
        _ => return Err(refused().hint("the schemes are http, https, uwsgi and fastcgi")),
    };
    let address = match place.strip_prefix("unix:") {
        Some(_) if protocol == Protocol::Https => {
            return Err(
                refused().hint("there is no TLS over a Unix socket: write \"http://unix:…\"")
            );
        }
        Some(path) => ServerAddress::Unix(unix(path)?),
        None => tcp(place, protocol).map_err(|hint| refused().hint(hint))?,
    };
    Ok(Server { protocol, address, weight: 1, backup: false, ca_file: None })
}

fn unix(text: &str) -> Result<PathBuf, Invalid> {
    if !text.starts_with('/') {
        return site_path(text);
    }
    if text.contains('\0') || text.ends_with('/') {
        return Err(Invalid::new(format!("\"{text}\" is not the path of a socket"))
            .hint("write the path of the file: \"uwsgi://unix:/run/app.sock\""));
    }
    Ok(PathBuf::from(text))
}

fn tcp(place: &str, protocol: Protocol) -> Result<ServerAddress, &'static str> {
    let place = match protocol {
        Protocol::Http | Protocol::Https => place.strip_suffix('/').unwrap_or(place),
        Protocol::Uwsgi | Protocol::FastCgi => place,
    };
    if place.contains(['/', '?', '#']) {
        return Err("write it without a path: the server gets the one that the client sent");
    }
    if place.contains('@') {
        return Err("write it without a user: what the client sends is passed on as it is");
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("an IPv6 address ends with a bracket")?;
            host.parse::<Ipv6Addr>().map_err(|_| "in brackets stands an IPv6 address")?;
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return Err("behind the bracket stands a colon and the port"),
            };
            (host.to_owned(), port)
        }
        None => {
            let (host, port) = match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            };
            let is_address = host.parse::<Ipv4Addr>().is_ok();
            match HostName::parse(host) {
                Ok(name) => (name.into_string(), port),
                Err(_) if is_address => (host.to_owned(), port),
                Err(_) => return Err("write a host name or an address, and a port"),
            }
        }
    };
    let port = match (port, protocol) {
        (None, Protocol::Http) => 80,
        (None, Protocol::Https) => 443,
        (None, _) => return Err("name its port: this protocol has none of its own"),
        (Some(text), _) => match text.parse() {
            Ok(port @ 1..) if text.bytes().all(|byte| byte.is_ascii_digit()) => port,
            _ => return Err("the port is a number from 1 to 65535"),
        },
    };
    Ok(ServerAddress::Tcp(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn servers_are_shown_as_they_are_written() {
        for text in [
            "http://127.0.0.1:3000",
            "https://api.example.com:8443",
            "http://[::1]:80",
            "uwsgi://unix:/run/app.sock",
            "uwsgi://unix:run/app.sock",
            "uwsgi://localhost:3031",
            "fastcgi://unix:/run/php/php8.2-fpm.sock",
            "http://unix:/run/web.sock",
        ] {
            assert_eq!(server(text).unwrap().to_string(), text);
        }
        assert_eq!(server("http://a/").unwrap().to_string(), "http://a:80");
        assert_eq!(server("https://A").unwrap().to_string(), "https://a:443");
    }

    #[test]
    fn what_is_not_a_server_is_refused_with_a_hint() {
        for text in [
            "",
            "127.0.0.1:3000",
            "ftp://a",
            "ws://a:1",
            "http://",
            "http://a:0",
            "http://a:x",
            "http://a:+80",
            "http://a:99999",
            "http://a:80/api",
            "http://user@a",
            "http://[::1",
            "http://[a]:80",
            "http://[::1]80",
            "http://a b",
            "http://::1:80",
            "uwsgi://a",
            "fastcgi://127.0.0.1",
            "https://unix:/run/a.sock",
            "uwsgi://unix:/run/",
        ] {
            assert!(server(text).unwrap_err().hint.is_some(), "{text}");
        }
        assert!(server("uwsgi://unix:../a.sock").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(http|uwsgi|fastcgi)://.{0,20}") {
            if let Ok(read) = server(&text) {
                prop_assert_eq!(server(&read.to_string()).unwrap(), read);
            }
        }
    }
}
