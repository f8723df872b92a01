//! Web Bot Auth: crawlers that sign their requests (draft-ietf-webbotauth-httpsig-protocol-00 and the editor's -01,
//! draft-meunier-webbotauth-httpsig-protocol-00 to -02, draft-meunier-web-bot-auth-architecture-00 to -05).
//!
//! An agent publishes its keys at a URL and names it in `Signature-Agent`, which its signature covers. The URL together
//! with the key is its identity. Judging a request takes three steps, of which the middle one is not here:
//!
//! 1. [`read_claims`]: what could hold, and at which [`KeySource`]s the keys are;
//! 2. the caller fetches these: https, without redirects, from public addresses only (checked on the address to which the
//!    connection is made), at most [`DIRECTORY_BYTES_MAX`], and keeps each [`KeyDirectory`] under its source;
//! 3. [`Claims::verify`]: the [`Outcome`]. Before money moves: [`Verified::covers_payment`] and [`Verified::replay`].
//!
//! The drafts moved and deployments lag behind them; where implementers read them differently, [`Settings`] say how it is
//! read here.

mod agent;
mod card;
mod directory;
mod payment;
mod sign;
mod url;
mod verify;

pub use agent::{AGENT_FIELD_BYTES_MAX, AGENTS_MAX, AgentError, KeySource, SourceKind, named_agents};
pub use card::{
    AgentCard, CardError, CardKeys, CrawlerStatement, REGISTRY_BYTES_MAX, REGISTRY_CARDS_MAX, RegistryCard,
    RegistryError, RegistryLineError, RegistryLines, read_registry,
};
pub use directory::{
    DIRECTORY_BYTES_MAX, DIRECTORY_KEYS_MAX, DirectoryError, DirectoryKey, DirectorySignatureError, Fetched,
    KeyAbsent, KeyDirectory, RefusedKey, RefusedKeyReason,
};
pub use payment::{NotCovered, PaymentCover, ReplayKey};
pub use sign::{
    AgentForm, AgentSignError, SignRequest, SignedRequest, directory_body, directory_fields, sign_request,
};
pub use url::{HttpsUrl, URL_BYTES_MAX, UrlError};
pub use verify::{Claim, Claims, Invalid, Keys, Outcome, Unverified, Verified, read_claims, verify};

/// Where an origin has its key directory.
pub const WELL_KNOWN_PATH: &str = "/.well-known/http-message-signatures-directory";
/// The media type of a key directory.
pub const DIRECTORY_MEDIA_TYPE: &str = "application/http-message-signatures-directory+json";
/// Tag of a request's signature.
pub const REQUEST_TAG: &str = "web-bot-auth";
/// Tag of a key directory's signature.
pub const DIRECTORY_TAG: &str = "http-message-signatures-directory";

/// What is accepted, where the drafts differ among each other or leave it open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How far clocks may differ, in seconds: a signature may be that much younger than now, or have expired since.
    pub skew_s: i64,
    /// The longest time from `created` to `expires`, in seconds. The drafts recommend a day at most.
    pub window_s_max: i64,
    /// Keys whose private part stands in an RFC prove nothing. Off only to check vectors.
    pub refuse_published_private_keys: bool,
    /// Whether the string form of `Signature-Agent` is accepted, the one that is most deployed.
    pub string_agents: bool,
    /// Whether members with `;type=` are accepted (draft-meunier). In draft-ietf -01 they are to be ignored.
    pub typed_agents: bool,
    /// Whether the member of `Signature-Agent` must have the label of its signature.
    pub member_is_label: bool,
    /// Whether a signature without `Signature-Agent` is invalid rather than unverified.
    pub agent_required: bool,
    /// Whether a signature with another tag is invalid (RFC 9421 section 3.2.1) rather than not there (the drafts' MAY).
    pub refuse_other_tags: bool,
    /// Whether a directory may be a single key where a set of keys belongs.
    pub bare_keys: bool,
    /// Whether the well-known path may have the media type of key sets, of JSON, or its own without `+json`.
    pub other_media_types: bool,
    /// Whether a directory's signature may leave out `content-digest`, as in its older form.
    pub directory_without_digest: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            skew_s: 60,
            window_s_max: 24 * 60 * 60,
            refuse_published_private_keys: true,
            string_agents: true,
            typed_agents: true,
            member_is_label: false,
            agent_required: false,
            refuse_other_tags: false,
            bare_keys: true,
            other_media_types: false,
            directory_without_digest: false,
        }
    }
}

/// Keys whose private part can be read in an RFC, by their thumbprints: anybody can be whoever publishes one.
const PUBLISHED_PRIVATE_KEYS: [&str; 5] = [
    "poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U", // Ed25519, RFC 9421 appendix B.1.4
    "oD0HwocPBSfpNy5W3bpJeyFGY_IQ_YpqxSjQ3Yd-CLA", // RSA, RFC 9421 appendix B.1.2
    "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", // Ed25519, RFC 8037 appendix A
    "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", // RSA, RFC 7638 section 3.1 and RFC 7517 appendix A.2
    "ydQXMtvbsOsZyFir-Y7A8t7fKEM1gbKPvyFkdpu4fvI", // P-256, RFC 9421 appendix B.1.3
];

/// Whether the private part of the key with this thumbprint stands in an RFC.
pub fn is_private_part_published(thumbprint: &str) -> bool {
    PUBLISHED_PRIVATE_KEYS.contains(&thumbprint)
}
