//! Lists of networks in CIDR notation: who may connect, and whose word about others is believed.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// Addresses and networks; empty: nobody.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Whether one of them has `address`; IPv4 inside IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|&(network, prefix)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => same(network.to_bits().into(), address.to_bits().into(), 32 - prefix),
            (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), 128 - prefix),
            _ => false,
        })
    }

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All but the last `low_bits` bits are the same.
fn same(left: u128, right: u128, low_bits: u8) -> bool {
    (left ^ right).checked_shr(low_bits.into()).unwrap_or_default() == 0
}

impl FromStr for Networks {
    type Err = ();

    /// `10.0.0.0/8,::1`; spaces around do not count.
    fn from_str(text: &str) -> Result<Self, ()> {
        let one = |part: &str| {
            let (address, prefix) = part.split_once('/').map_or((part, None), |(address, prefix)| (address, Some(prefix)));
            let address: IpAddr = address.parse().ok()?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let is_number = |prefix: &&str| !prefix.is_empty() && prefix.bytes().all(|digit| digit.is_ascii_digit());
            let prefix = match prefix {
                Some(prefix) => Some(prefix).filter(is_number)?.parse().ok().filter(|prefix| *prefix <= bits)?,
                None => bits,
            };
            Some((address, prefix))
        };
        text.split(',').map(|part| one(part.trim())).collect::<Option<_>>().map(Self).ok_or(())
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (address, prefix)) in self.0.iter().enumerate() {
            write!(f, "{}{address}/{prefix}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_what_its_prefix_says() {
        let has = |networks: &str, address: &str| networks.parse::<Networks>().expect("networks").contains(address.parse().expect("an address"));
        assert!(has("10.0.0.0/8", "10.255.1.2") && !has("10.0.0.0/8", "11.0.0.0"));
        assert!(has("10.0.0.1", "10.0.0.1") && !has("10.0.0.1", "10.0.0.2"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1") && has("::/0", "fe80::1"));
        assert!(has("192.0.2.0/25, ::1", "::1") && has("192.0.2.0/25, ::1", "192.0.2.127") && !has("192.0.2.0/25", "192.0.2.128"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(has("fe80::/10", "febf::1") && !has("fe80::/10", "fec0::1") && !has("::1", "::2"));
        assert!(!Networks::default().contains(IpAddr::from([10, 0, 0, 1])));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "/8", "broker", "::2,"] {
            assert_eq!(format!("::1,{text}").parse::<Networks>(), Err(()), "{text}");
        }
        assert_eq!("10.0.0.0/8, ::1".parse::<Networks>().expect("networks").to_string(), "10.0.0.0/8,::1/128");
    }
}
