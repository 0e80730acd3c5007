//! Addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Invalid;

/// Which addresses the machine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    /// IPv4 alone.
    V4,
    /// IPv4 and IPv6.
    Both,
}

impl Families {
    /// What the running kernel has (`proc_net(5)`: the file is absent or empty without IPv6).
    pub(crate) fn of_this_machine() -> Self {
        match std::fs::read("/proc/net/if_inet6") {
            Ok(interfaces) if !interfaces.is_empty() => Self::Both,
            _ => Self::V4,
        }
    }
}

/// Addresses separated by commas: `127.0.0.1:8081`, `[::1]:8081`, `:8080` (every interface), `localhost:8080` (both
/// loopbacks).
pub(crate) fn addresses(families: Families) -> impl Fn(&str) -> Result<Vec<SocketAddr>, Invalid> {
    move |text| {
        let mut all = Vec::new();
        for part in text.split(',') {
            for address in address(part.trim(), families)? {
                if !all.contains(&address) {
                    all.push(address);
                }
            }
        }
        Ok(all)
    }
}

fn address(text: &str, families: Families) -> Result<Vec<SocketAddr>, Invalid> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let refused = || Invalid::new(format!("\"{text}\" is not an address to listen on"));
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Err(refused().hint(format!(
            "for every interface write \":{text}\", for this machine alone \"127.0.0.1:{text}\""
        )));
    }
    let example = "write an IP address and a port: \"0.0.0.0:8080\", \"[::]:8080\", \":8080\"";
    let (host, port) = text.rsplit_once(':').ok_or_else(|| refused().hint(example))?;
    let port: u16 = port.parse().map_err(|_| refused().hint("the port is a number up to 65535"))?;
    let hosts: Vec<IpAddr> = match (host, families) {
        // One socket that takes in both kinds.
        ("" | "*", Families::Both) => vec![Ipv6Addr::UNSPECIFIED.into()],
        ("" | "*", Families::V4) => vec![Ipv4Addr::UNSPECIFIED.into()],
        ("localhost", Families::Both) => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        ("localhost", Families::V4) => vec![Ipv4Addr::LOCALHOST.into()],
        _ => return Err(refused().hint(example)),
    };
    Ok(hosts.into_iter().map(|host| SocketAddr::new(host, port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let all = addresses(Families::Both)(text).unwrap();
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_separated_by_commas() {
        assert_eq!(read("127.0.0.1:80, [::1]:0"), ["127.0.0.1:80", "[::1]:0"]);
        assert_eq!(read("127.0.0.1:80,127.0.0.1:80"), ["127.0.0.1:80"]);
    }

    #[test]
    fn no_host_means_every_interface_and_localhost_both_loopbacks() {
        assert_eq!(read(":8080"), ["[::]:8080"]);
        assert_eq!(read("localhost:8080"), ["127.0.0.1:8080", "[::1]:8080"]);
        let without_ipv6 = addresses(Families::V4);
        assert_eq!(without_ipv6(":80").unwrap(), ["0.0.0.0:80".parse().unwrap()]);
        assert_eq!(without_ipv6("localhost:80").unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_a_hint() {
        for text in [
            "",
            ",",
            "8080",
            "127.0.0.1",
            "example.com:80",
            ":99999",
            "::1:80",
            "127.0.0.1:x",
            "[::1]",
        ] {
            let refused = addresses(Families::Both)(text).unwrap_err();
            assert!(refused.hint.is_some(), "{text}");
        }
    }
}
