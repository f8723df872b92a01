//! What a 402 offers: the ways to pay a price, for version 2 in a header and for version 1 in the body of the same answer.
//!
//! A way whose unit cannot express the price exactly is not offered: a price of 0.002 USD has no cents, and nothing is rounded.

use serde_json::{Value, json};

use super::atomic::{ConversionError, U256, to_atomic};
use super::batch::{self, Credit};
use super::eip712::{Address, Domain};
use super::header::{self, OUT_BYTES_MAX};
use super::message::{
    Object, PaymentRequired, PaymentRequiredV1, PaymentRequirements, PaymentRequirementsV1, Resource,
};
use super::network::Network;
use super::receipt::{self, Signed};
use super::{BATCH_SETTLEMENT, EXACT};
use crate::{Currency, Money};

/// A way in which a site takes money.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Way {
    /// A token on an EVM chain, moved by EIP-3009 (`exact`).
    Exact(Token),
    /// On credit (`batch-settlement` on `cloudflare:402`).
    Credit(Credit),
}

/// A token, and whom to pay in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The chain.
    pub chain_id: u64,
    /// The token's contract.
    pub asset: Address,
    /// The name that the contract signs with (EIP-712); not the same on every chain.
    pub name: String,
    /// The version that the contract signs with.
    pub version: String,
    /// Decimals of its smallest unit: 6 for USDC.
    pub decimals: u32,
    /// What one token counts for: one unit of this currency.
    pub currency: Currency,
    /// Who is paid.
    pub pay_to: Address,
    /// Seconds that a payment may take.
    pub max_timeout_secs: u64,
}

impl Token {
    /// The network, as CAIP-2.
    pub fn network(&self) -> Network {
        Network::eip155(self.chain_id)
    }

    /// What authorizations for this token are signed for.
    pub fn domain(&self) -> Domain<'_> {
        Domain {
            name: &self.name,
            version: &self.version,
            chain_id: self.chain_id,
            verifying_contract: Some(self.asset),
        }
    }
}

/// What is offered for one resource. The same policy makes the same offers again when the payment comes.
#[derive(Clone, PartialEq, Debug)]
pub struct Offers {
    /// What is sold.
    pub resource: Resource,
    /// What it costs.
    pub price: Money,
    /// The ways to pay, the preferred one first; at least one.
    pub ways: Vec<Offered>,
    /// Extensions besides the one for signatures, which comes with [`Way::Credit`].
    pub extensions: Object,
}

/// A way to pay a certain price.
#[derive(Clone, PartialEq, Debug)]
pub struct Offered {
    /// The way.
    pub way: Way,
    /// The price in its smallest unit.
    pub amount: U256,
    /// How version 2 says so.
    pub requirements: PaymentRequirements,
}

/// Why there is nothing to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Nothing is paid for what is free.
    #[error("what costs nothing is not sold")]
    Free,
    /// No way takes the currency.
    #[error("no way of paying takes {currency}")]
    NoWay {
        /// The price's currency.
        currency: Currency,
    },
    /// No way can express the price.
    #[error("no way of paying can express the price: {0}")]
    Inexact(ConversionError),
}

impl Offers {
    /// The ways in which a price can be paid.
    ///
    /// # Errors
    /// The price is nothing, or no way can express it.
    pub fn new(
        resource: Resource,
        price: Money,
        ways: &[Way],
        extensions: Object,
    ) -> Result<Offers, OfferError> {
        if price.nano <= 0 {
            return Err(OfferError::Free);
        }
        let mut error = OfferError::NoWay { currency: price.currency };
        let mut offered = Vec::with_capacity(ways.len());
        for way in ways {
            let decimals = match way {
                Way::Exact(token) if token.currency == price.currency => token.decimals,
                Way::Exact(_) => continue,
                Way::Credit(_) => u32::from(price.currency.minor_decimals()),
            };
            match to_atomic(price, decimals) {
                Ok(amount) => offered.push(Offered::new(way, amount, price.currency)),
                Err(why) => error = OfferError::Inexact(why),
            }
        }
        if offered.is_empty() {
            Err(error)
        } else {
            Ok(Offers { resource, price, ways: offered, extensions })
        }
    }

    /// The same offers, each with a signature that holds the server to its word ([`receipt`]): the same key signs the same offer alike.
    #[must_use]
    pub fn signed(&self, key: &receipt::SigningKey) -> Offers {
        let sign = |(place, offered): (usize, &Offered)| {
            let requirements = offered.requirements.clone();
            let offer = receipt::Offer {
                version: receipt::PAYLOAD_VERSION,
                resource_url: self.resource.url.clone(),
                scheme: requirements.scheme,
                network: requirements.network,
                asset: requirements.asset,
                pay_to: requirements.pay_to,
                amount: requirements.amount,
                // It holds as long as the policy does, and nobody knows how long that is.
                valid_until: None,
            };
            Signed { accept_index: u64::try_from(place).ok(), ..Signed::with(&offer, key) }
        };
        let signed: Vec<Signed> = self.ways.iter().enumerate().map(sign).collect();
        let mut offers = self.clone();
        offers.extensions.insert(receipt::NAME.to_owned(), receipt::offers_extension(&signed));
        offers
    }

    /// The whole offer of version 2.
    pub fn required(&self, error: &str) -> PaymentRequired {
        self.required_of(&self.ways, self.resource.clone(), self.extensions.clone(), error)
    }

    /// The value of `PAYMENT-REQUIRED`, below [`OUT_BYTES_MAX`].
    ///
    /// What does not fit is left out, the least needed first: signed offers, description, media type, our extensions, the last ways. `None` if the
    /// preferred way alone is too long, which a long URL makes it; the body's offer has room for that.
    pub fn header(&self, error: &str) -> Option<String> {
        let (mut resource, mut extensions) = (self.resource.clone(), self.extensions.clone());
        let mut ways = &self.ways[..];
        for step in 0.. {
            let value = header::write(&self.required_of(ways, resource.clone(), extensions.clone(), error));
            if value.len() < OUT_BYTES_MAX {
                return Some(value);
            }
            match step {
                0 => drop(extensions.remove(receipt::NAME)),
                1 => resource.description = None,
                2 => resource.mime_type = None,
                3 => extensions = Object::new(),
                _ => ways = ways.split_last().filter(|(_, rest)| !rest.is_empty())?.1,
            }
        }
        None
    }

    /// The offer of version 1, if one of the ways exists there: the body of the 402.
    pub fn body(&self, error: &str) -> Option<PaymentRequiredV1> {
        let accepts: Vec<_> =
            self.ways.iter().filter_map(|offered| offered.version_1(&self.resource)).collect();
        (!accepts.is_empty()).then(|| PaymentRequiredV1 {
            x402_version: 1,
            error: error.to_owned(),
            accepts,
            others: Object::new(),
        })
    }

    fn required_of(
        &self,
        ways: &[Offered],
        resource: Resource,
        mut extensions: Object,
        error: &str,
    ) -> PaymentRequired {
        for offered in ways {
            if let Way::Credit(credit) = &offered.way {
                extensions.insert(batch::SIGNATURES_EXTENSION.to_owned(), credit.signatures_extension());
            }
        }
        PaymentRequired {
            x402_version: 2,
            error: Some(error.to_owned()),
            resource,
            accepts: ways.iter().map(|offered| offered.requirements.clone()).collect(),
            extensions: Some(extensions),
            others: Object::new(),
        }
    }
}

impl Offered {
    fn new(way: &Way, amount: U256, currency: Currency) -> Offered {
        let (scheme, network, asset, pay_to, max_timeout_seconds, extra) = match way {
            Way::Exact(token) => (
                EXACT,
                token.network(),
                token.asset.to_string(),
                token.pay_to.to_string(),
                Some(token.max_timeout_secs),
                json!({"assetTransferMethod": "eip3009", "name": token.name, "version": token.version}),
            ),
            Way::Credit(credit) => (
                BATCH_SETTLEMENT,
                Network::cloudflare(),
                currency.to_string(),
                batch::PAY_TO.to_owned(),
                credit.max_timeout_secs,
                json!({"version": batch::NETWORK_VERSION}),
            ),
        };
        let requirements = PaymentRequirements {
            scheme: scheme.to_owned(),
            network: network.to_string(),
            amount: amount.to_string(),
            asset,
            pay_to,
            max_timeout_seconds,
            extra: object(extra),
            others: Object::new(),
        };
        Offered { way: way.clone(), amount, requirements }
    }

    /// How version 1 says so; it has neither credit nor networks without a name.
    pub(super) fn version_1(&self, resource: &Resource) -> Option<PaymentRequirementsV1> {
        let Way::Exact(token) = &self.way else { return None };
        Some(PaymentRequirementsV1 {
            scheme: EXACT.to_owned(),
            network: token.network().v1_name()?.to_owned(),
            max_amount_required: self.amount.to_string(),
            resource: resource.url.clone(),
            description: resource.description.clone().unwrap_or_default(),
            mime_type: resource.mime_type.clone().unwrap_or_default(),
            output_schema: None,
            pay_to: token.pay_to.to_string(),
            max_timeout_seconds: token.max_timeout_secs,
            asset: token.asset.to_string(),
            extra: object(json!({"name": token.name, "version": token.version})),
            others: Object::new(),
        })
    }
}

fn object(value: Value) -> Option<Object> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
