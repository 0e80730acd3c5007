//! Where a site also serves uwsgi: Unix sockets and addresses, the mode and owner of the former, and who may reach the latter.
//!
//! Source: uWSGI's options `socket`, `chmod-socket` and `chown-socket`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::address::{Families, addresses};
use super::{Invalid, must_be, site_path};
use crate::site::{SocketAddress, SocketOwner};
use crate::value::Value;

/// One entry of `socket`: a path, or an address (`127.0.0.1:8000`, `:8000`), which may stand for two.
pub(crate) fn socket(families: Families) -> impl Fn(&str) -> Result<Vec<SocketAddress>, Invalid> {
    move |text| {
        if let Some(path) = text.strip_prefix("unix:") {
            return Err(Invalid::new(format!("\"{text}\" is how nginx writes it"))
                .hint(format!("write the path alone: \"{path}\"")));
        }
        if text.starts_with('/') {
            return absolute(text).map(|path| vec![SocketAddress::Unix(path)]);
        }
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number || (text.contains(':') && !text.contains('/')) {
            let all = addresses(families)(text)?;
            if all.iter().any(|address| address.port() == 0) {
                return Err(Invalid::new(format!("\"{text}\" names no port"))
                    .hint("the server in front has to know it: write a number above 0"));
            }
            return Ok(all.into_iter().map(SocketAddress::Tcp).collect());
        }
        site_path(text).map(|path| vec![SocketAddress::Unix(path)])
    }
}

fn absolute(text: &str) -> Result<PathBuf, Invalid> {
    if text.contains('\0') || text.ends_with('/') {
        return Err(Invalid::new(format!("\"{text}\" is not the path of a socket"))
            .hint("write the path of the file: \"/run/onebox/mysite.sock\""));
    }
    Ok(PathBuf::from(text))
}

/// `chmod-socket`: an octal mode as text, `"660"`.
pub(crate) fn mode(value: &Value) -> Result<u32, Invalid> {
    permissions(value, "a mode", "\"660\" lets the owner and the group connect")
}

/// `umask`: the same with the bits that are taken away.
pub(crate) fn mask(value: &Value) -> Result<u32, Invalid> {
    permissions(value, "a umask", "with \"027\" new files are closed to others")
}

fn permissions(value: &Value, what: &str, example: &str) -> Result<u32, Invalid> {
    let Value::Text(text) = value else { return Err(must_be("a text", value)) };
    match u32::from_str_radix(text, 8) {
        Ok(bits) if (3..=4).contains(&text.len()) && !text.starts_with("+") && bits <= 0o777 => {
            Ok(bits)
        }
        _ => Err(Invalid::new(format!("\"{text}\" is not {what}"))
            .hint(format!("write three octal digits: {example}"))),
    }
}

/// `chown-socket`: `user`, `user:group` or `:group`, names or numbers.
pub(crate) fn owner(text: &str) -> Result<SocketOwner, Invalid> {
    let refused = || {
        Invalid::new(format!("\"{text}\" is not an owner"))
            .hint("write a user, a group, or both: \"www-data:www-data\", \":www-data\"")
    };
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let name = |name: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
        match name {
            "" => Ok(None),
            name if name.chars().all(is_plain) => Ok(Some(name.to_owned())),
            _ => Err(refused()),
        }
    };
    match (name(user)?, name(group)?) {
        (None, None) => Err(refused()),
        (user, group) => Ok(SocketOwner { user, group }),
    }
}

/// A network, or one address.
///
/// # Errors
/// [`Invalid`] where it is neither.
pub fn network(text: &str) -> Result<IpNet, Invalid> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| one()).map(canonical).map_err(|_| {
        Invalid::new(format!("\"{text}\" is not a network"))
            .hint("write an address, or a network with its prefix: \"10.0.0.0/8\"")
    })
}

/// IPv4 in its own form where it is written as a part of IPv6 (RFC 4291 §2.5.5.2): that is how addresses of clients are compared.
fn canonical(network: IpNet) -> IpNet {
    const BITS_IN_FRONT: u8 = 96;
    let address = match network {
        IpNet::V4(_) => None,
        IpNet::V6(mapped) => mapped.addr().to_ipv4_mapped(),
    };
    let prefix = network.prefix_len().checked_sub(BITS_IN_FRONT);
    let mapped =
        address.zip(prefix).and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    mapped.map_or(network, IpNet::V4)
}

/// What one client has: its address, of IPv6 the network of its last 64 bits, which it can choose.
pub fn client_network(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address.into(),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
            Ipv6Net::new_assert(network, 64).into()
        }
    }
}

/// Why an address can't be listened on without `socket-allow`.
pub(crate) fn unprotected(address: SocketAddr) -> Invalid {
    Invalid::new(format!(
        "{address} is reachable from other machines: whoever speaks uwsgi is believed about who the client is, and there is no password"
    ))
    .hint("name the machines that may connect: socket-allow = [\"10.0.0.7\"]; or listen on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<SocketAddress>, Invalid> {
        socket(Families::Both)(text)
    }

    #[test]
    fn a_network_of_ipv4_is_one_however_it_is_written() {
        for (text, expected) in [
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), expected, "{text}");
        }
        assert!(network("::ffff:192.0.2.0/129").is_err());
    }

    #[test]
    fn a_socket_is_a_path_or_an_address() {
        assert_eq!(read("/run/a.sock").unwrap(), [SocketAddress::Unix("/run/a.sock".into())]);
        assert_eq!(read("./run//a.sock").unwrap(), [SocketAddress::Unix("run/a.sock".into())]);
        let tcp = |text: &str| SocketAddress::Tcp(text.parse().unwrap());
        assert_eq!(read("127.0.0.1:8000").unwrap(), [tcp("127.0.0.1:8000")]);
        assert_eq!(read("[::1]:8000").unwrap(), [tcp("[::1]:8000")]);
        assert_eq!(read(":8000").unwrap(), [tcp("[::]:8000")]);
    }

    #[test]
    fn what_is_neither_is_refused_with_a_hint() {
        for text in ["unix:/run/a.sock", "8000", "example.com:80", "127.0.0.1:0", "/run/"] {
            assert!(read(text).unwrap_err().hint.is_some(), "{text}");
        }
        assert!(read("../a.sock").is_err());
    }

    #[test]
    fn a_mode_is_octal_text() {
        let mode_of = |text: &str| mode(&Value::Text(text.to_owned()));
        assert_eq!(mode_of("664"), Ok(0o664));
        assert_eq!(mode_of("0660"), Ok(0o660));
        for text in ["", "66", "668", "1777", "+66", "rw-rw----"] {
            assert!(mode_of(text).is_err(), "{text}");
        }
        assert!(mode(&Value::Integer(664)).unwrap_err().hint.unwrap().contains("\"664\""));
    }

    #[test]
    fn an_owner_is_a_user_a_group_or_both() {
        let of = |user: Option<&str>, group: Option<&str>| {
            Ok(SocketOwner { user: user.map(str::to_owned), group: group.map(str::to_owned) })
        };
        assert_eq!(owner("www-data:www-data"), of(Some("www-data"), Some("www-data")));
        assert_eq!(owner("33"), of(Some("33"), None));
        assert_eq!(owner(":www-data"), of(None, Some("www-data")));
        for text in ["", ":", "a b", "a:b:c"] {
            assert!(owner(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_client_has_an_address_or_a_network_of_ipv6() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("::", "::/64"),
        ] {
            assert_eq!(client_network(address.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn a_network_may_be_one_address() {
        assert_eq!(network("10.0.0.7").unwrap().to_string(), "10.0.0.7/32");
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert!(network("10.0.0.0/40").is_err() && network("intranet").is_err());
    }
}
