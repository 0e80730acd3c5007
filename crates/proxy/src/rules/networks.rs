//! Lists of addresses and networks, however long.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks, however many: a request looks at a dozen numbers of a thousand.
pub(super) struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ranges of addresses that do not overlap, in order; their beginnings lie side by side, because only they are searched.
struct Ranges<T> {
    first: Box<[T]>,
    last: Box<[T]>,
}

impl Networks {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in IpNet::aggregate(&networks.to_vec()) {
            match network {
                IpNet::V4(network) => {
                    v4.push((network.network().to_bits(), network.broadcast().to_bits()))
                }
                IpNet::V6(network) => {
                    v6.push((network.network().to_bits(), network.broadcast().to_bits()))
                }
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.first.is_empty() && self.v6.first.is_empty()
    }

    pub(super) fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contain(address.to_bits()),
            IpAddr::V6(address) => self.v6.contain(address.to_bits()),
        }
    }
}

impl<T: Ord + Copy> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let (first, last): (Vec<_>, Vec<_>) = ranges.into_iter().unzip();
        Self { first: first.into(), last: last.into() }
    }

    fn contain(&self, address: T) -> bool {
        let behind = self.first.partition_point(|first| *first <= address);
        behind.checked_sub(1).and_then(|at| self.last.get(at)).is_some_and(|last| address <= *last)
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
