//! Lists of addresses and networks, however long.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks that do not overlap, in order, so that a request looks at a dozen of a thousand.
pub(super) struct Networks(Box<[IpNet]>);

impl Networks {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        let mut apart = IpNet::aggregate(&networks.to_vec());
        apart.sort_by_key(IpNet::network);
        Self(apart.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contain(&self, address: IpAddr) -> bool {
        let behind = self.0.partition_point(|network| network.network() <= address);
        behind.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|at| at.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_any_list() {
        let list = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.0.2.7/32",
            "192.0.2.8/32",
            "198.51.100.0/25",
            "198.51.100.128/25",
            "2001:db8::/32",
            "2001:db8:1::/48",
            "fe80::1/128",
        ];
        let list = list.map(|network| network.parse::<IpNet>().unwrap());
        let networks = Networks::new(&list);
        let asked = [
            "0.0.0.0",
            "9.255.255.255",
            "10.0.0.0",
            "10.1.2.3",
            "10.255.255.255",
            "11.0.0.0",
            "192.0.2.6",
            "192.0.2.7",
            "192.0.2.8",
            "192.0.2.9",
            "198.51.100.0",
            "198.51.100.255",
            "198.51.101.0",
            "255.255.255.255",
            "::",
            "2001:db7:ffff::",
            "2001:db8::",
            "2001:db8:1::7",
            "2001:db8:ffff::",
            "2001:db9::",
            "fe80::1",
            "fe80::2",
            "ffff::",
        ];
        for address in asked.map(|address| address.parse::<IpAddr>().unwrap()) {
            let expected = list.iter().any(|network| network.contains(&address));
            assert_eq!(networks.contain(address), expected, "{address}");
        }
        assert!(
            Networks::new(&[]).is_empty()
                && !Networks::new(&[]).contain("10.0.0.1".parse().unwrap())
        );
    }
}
