//! Networks: CAIP-2 identifiers (`eip155:8453`), and the names that version 1 gives to them (`base`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A network: `namespace:reference`.
///
/// The grammar is CAIP-2's, except that a namespace may have 16 characters instead of 8: `cloudflare:402` has ten.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(String);

/// Version 1's names and the CAIP-2 identifiers of the same networks: those of the specification (v2 §11.1, v1 §8), and the further
/// ones of its authors' package (`EVM_NETWORK_CHAIN_ID_MAP` of npm's `@x402/evm` 2.27). Money must not move by one that was guessed.
const NAMES: [(&str, &str); 25] = [
    ("base", "eip155:8453"),
    ("base-sepolia", "eip155:84532"),
    ("avalanche", "eip155:43114"),
    ("avalanche-fuji", "eip155:43113"),
    ("solana", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
    ("solana-devnet", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
    ("iotex", "eip155:4689"),
    ("ethereum", "eip155:1"),
    ("sepolia", "eip155:11155111"),
    ("abstract", "eip155:2741"),
    ("abstract-testnet", "eip155:11124"),
    ("sei", "eip155:1329"),
    ("sei-testnet", "eip155:1328"),
    ("polygon", "eip155:137"),
    ("polygon-amoy", "eip155:80002"),
    ("peaq", "eip155:3338"),
    ("story", "eip155:1514"),
    ("educhain", "eip155:41923"),
    ("skale-base-sepolia", "eip155:324705682"),
    ("megaeth", "eip155:4326"),
    ("monad", "eip155:143"),
    ("stable", "eip155:988"),
    ("stable-testnet", "eip155:2201"),
    ("celo", "eip155:42220"),
    ("flare", "eip155:14"),
];

impl Network {
    /// Cloudflare's network, on which credit is settled in batches.
    pub fn cloudflare() -> Network {
        Network("cloudflare:402".to_owned())
    }

    /// The EVM network of a chain.
    pub fn eip155(chain_id: u64) -> Network {
        Network(format!("eip155:{chain_id}"))
    }

    /// Reads a CAIP-2 identifier.
    pub fn parse(text: &str) -> Option<Network> {
        let (namespace, reference) = text.split_once(':')?;
        let namespace_fits = (3..=16).contains(&namespace.len())
            && namespace.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let reference_fits = (1..=32).contains(&reference.len())
            && reference.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        (namespace_fits && reference_fits).then(|| Network(text.to_owned()))
    }

    /// The network that version 1 calls by this name.
    pub fn from_v1(name: &str) -> Option<Network> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, network)| Network((*network).to_owned()))
    }

    /// Version 1's name, if it has one.
    pub fn v1_name(&self) -> Option<&'static str> {
        NAMES.iter().find(|(_, network)| *network == self.0).map(|(name, _)| *name)
    }

    /// The chain of an EVM network. `eip155:08` is none: a chain has one spelling.
    pub fn chain_id(&self) -> Option<u64> {
        let reference = self.0.strip_prefix("eip155:")?;
        let has_one_spelling = !reference.starts_with('0') && reference.bytes().all(|b| b.is_ascii_digit());
        if has_one_spelling { reference.parse().ok() } else { None }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Network {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Network, &'static str> {
        Network::parse(&text).ok_or("not a CAIP-2 network such as eip155:8453")
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_caip_2() {
        for text in ["eip155:8453", "cloudflare:402", "ach:us", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"] {
            assert_eq!(Network::parse(text).as_ref().map(Network::as_str), Some(text));
        }
        let long = format!("eip155:{}", "1".repeat(33));
        for text in ["", "base", ":", "eip155:", "ei:1", "EIP155:1", "eip155:1:2", "eip155: 1", &long] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        for (text, chain) in [
            ("eip155:8453", Some(8453)),
            ("eip155:08453", None),
            ("eip155:18446744073709551616", None),
            ("eip155:x", None),
            ("solana:1", None),
        ] {
            assert_eq!(Network::parse(text).expect(text).chain_id(), chain, "{text}");
        }
    }

    #[test]
    fn each_name_of_version_1_is_one_network() {
        for (name, network) in NAMES {
            let network = Network::parse(network).expect("CAIP-2");
            assert_eq!(Network::from_v1(name).as_ref(), Some(&network));
            assert_eq!(network.v1_name(), Some(name));
        }
        assert_eq!(Network::from_v1("eip155:8453"), None);
        assert_eq!(Network::cloudflare().v1_name(), None);
    }
}
