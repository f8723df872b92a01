//! Payments that come with a request: checked before the origin is asked, settled before anything of the answer leaves.
//!
//! What is taken, and whether it pays, is the policy's to say (`policy::payment`); how far a payment has come is kept beside the
//! ledger (`billing::payments`). Here is the way between: the headers ([`present`]), the facilitator ([`facilitator`]), the order
//! in which things are written and asked ([`settle`]), and the answers ([`answer`]). The reasons for that order are in
//! docs/adr/0007-payments-before-delivery.md.

pub(crate) mod answer;
pub(crate) mod attempts;
pub(crate) mod facilitator;
pub(crate) mod pending;
pub(crate) mod present;
pub(crate) mod secret;
pub(crate) mod settle;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use policy::payment::PaymentWay;
use policy::protocol::mpp::challenge::Challenger;
use policy::protocol::x402::Version;
use policy::protocol::x402::facilitator::Supported;
use policy::protocol::x402::offer::Token;
use policy::protocol::x402::receipt::SigningKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::shared::Shared;
use facilitator::{Facilitator, FacilitatorSettings};

pub(crate) use answer::Offer;
use attempts::Attempts;
use pending::Pending;
pub(crate) use present::{Payment, PresentError, Refused};

/// How often a facilitator is asked what it settles; while it does not say, more often.
const SUPPORTED_INTERVAL: Duration = Duration::from_secs(3_600);
const SUPPORTED_RETRY: Duration = Duration::from_secs(5);

/// What the configuration says about payments.
#[derive(Clone, Debug, Default)]
pub(crate) struct PaymentSettings {
    pub(crate) facilitator: Option<FacilitatorSettings>,
    pub(crate) receipt: Option<ReceiptSettings>,
}

/// What receipts are signed with.
#[derive(Clone, Debug)]
pub(crate) struct ReceiptSettings {
    /// PEM file of an Ed25519 key.
    pub(crate) key: PathBuf,
    /// Its DID URL, which whoever checks a receipt looks up.
    pub(crate) kid: String,
    /// Offers are signed with it as well, where there is room.
    pub(crate) signs_offers: bool,
}

/// What payments need that outlives a fetch.
pub(crate) struct Payments {
    facilitator: Option<Facilitator>,
    /// What the facilitator settles; nothing while it has not said so.
    supported: ArcSwapOption<Supported>,
    look_again: Notify,
    attempts: Arc<Attempts>,
    pub(crate) pending: Pending,
    state: PathBuf,
    /// Made when the first challenge is: few policies take `mpp`.
    challenger: OnceLock<Option<Challenger>>,
    receipt: Option<SigningKey>,
    signs_offers: bool,
}

impl Payments {
    /// Reads keys and secrets.
    pub(crate) fn start(
        settings: &PaymentSettings,
        state: &Path,
        tls: &Arc<rustls::ClientConfig>,
    ) -> anyhow::Result<Payments> {
        let facilitator = settings.facilitator.clone().map(|it| Facilitator::new(it, tls)).transpose()?;
        let receipt = settings.receipt.as_ref().map(receipt_key).transpose()?;
        Ok(Payments {
            facilitator,
            supported: ArcSwapOption::empty(),
            look_again: Notify::new(),
            attempts: Arc::default(),
            pending: Pending::new(state),
            state: state.to_owned(),
            challenger: OnceLock::new(),
            receipt,
            signs_offers: settings.receipt.as_ref().is_some_and(|receipt| receipt.signs_offers),
        })
    }

    /// Whether there is anybody who could be asked about a payment.
    fn has_facilitator(&self) -> bool {
        self.facilitator.is_some()
    }

    /// Whether payments in this token can be settled.
    fn settles(&self, token: &Token, version: Version) -> bool {
        let supported = self.supported.load();
        supported.as_ref().is_some_and(|supported| supported.settles_exact(version, &token.network()))
    }

    /// What issues challenges; nothing if its secret can neither be read nor made.
    fn challenger(&self) -> Option<&Challenger> {
        let made = self.challenger.get_or_init(|| match secret::challenger(&self.state) {
            Ok(challenger) => Some(challenger),
            Err(error) => {
                let error = format!("{error:#}");
                error!(%error, "there is no secret for challenges: mpp is not offered until a restart");
                None
            }
        });
        made.as_ref()
    }

    /// The policy is another: its networks are looked at again.
    pub(crate) fn policy_changed(&self) {
        self.look_again.notify_one();
    }

    /// Asks the facilitator what it settles, now and from time to time, as long as the control thread runs.
    pub(crate) async fn watch(shared: &Shared) {
        let payments = &shared.payments;
        let Some(facilitator) = &payments.facilitator else {
            let policy = shared.policy.load_full();
            if policy.payment_ways().iter().any(|way| matches!(way, PaymentWay::X402(_))) {
                warn!(
                    "the policy takes x402 payments, and byline.toml names no [x402] facilitator: none is offered"
                );
            }
            return;
        };
        loop {
            let wait = match facilitator.supported().await {
                Ok(supported) => {
                    payments.supported.store(Some(Arc::new(supported)));
                    say_what_is_not_settled(shared);
                    SUPPORTED_INTERVAL
                }
                Err(error) => {
                    let known = payments.supported.load().is_some();
                    warn!(
                        error = &error as &dyn std::error::Error,
                        known, "the facilitator does not say what it settles"
                    );
                    SUPPORTED_RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = payments.look_again.notified() => {}
            }
        }
    }
}

fn say_what_is_not_settled(shared: &Shared) {
    let policy = shared.policy.load_full();
    for way in policy.payment_ways() {
        let PaymentWay::X402(way) = way else { continue };
        for (version, spoken) in [(Version::V1, way.v1), (Version::V2, way.v2)] {
            let network = way.token.network();
            let version_number = version.number();
            if !spoken {
            } else if shared.payments.settles(&way.token, version) {
                info!(%network, version = version_number, "the facilitator settles x402 payments");
            } else {
                warn!(%network, version = version_number, "the facilitator does not settle this: it is not offered");
            }
        }
    }
}

fn receipt_key(settings: &ReceiptSettings) -> anyhow::Result<SigningKey> {
    let path = settings.key.display();
    let der = PrivatePkcs8KeyDer::from_pem_file(&settings.key)
        .map_err(|_| anyhow::anyhow!("{path}: no PKCS#8 key in PEM can be read"))?;
    SigningKey::from_pkcs8(der.secret_pkcs8_der(), &settings.kid)
        .with_context(|| format!("{path}: this is no Ed25519 key"))
}
