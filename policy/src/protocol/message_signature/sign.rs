//! Making signatures, with Ed25519 (RFC 9421 section 3.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sfv::{Integer, ItemSerializer, KeyRef, StringRef};

use super::key::sized;
use super::message::Message;
use super::signature::base;
use super::{Component, ComponentError, Jwk, KeyError, Parameters, PublicKey, VerifyError};

/// An Ed25519 key to sign with.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl std::fmt::Debug for SigningKey {
    /// Names the key; its private part is never shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("thumbprint", &self.public.thumbprint()).finish_non_exhaustive()
    }
}

/// Values of the two fields that carry a signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignatureFields {
    /// `Signature-Input`.
    pub input: String,
    /// `Signature`.
    pub signature: String,
}

/// Why something cannot be signed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// A component has no value in the message.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// A component would be covered twice.
    #[error("{0} would be covered twice")]
    ComponentTwice(String),
    /// The base would be too long.
    #[error(transparent)]
    Base(#[from] VerifyError),
    /// Not a label that a dictionary can have.
    #[error("{0:?} is not a label")]
    Label(String),
    /// Not a value that the parameter can have: printable ASCII, or a number of at most 15 digits.
    #[error("the parameter {0} cannot have this value")]
    Parameter(&'static str),
}

impl SigningKey {
    /// The key of a seed of 32 bytes (RFC 8032 section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Result<SigningKey, KeyError> {
        SigningKey::of(Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Member("d"))?)
    }

    fn of(pair: Ed25519KeyPair) -> Result<SigningKey, KeyError> {
        let public: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Member("x"))?;
        Ok(SigningKey { public: PublicKey::from_ed25519(&public)?, pair })
    }

    /// The key of a PKCS#8 structure (RFC 8410 section 7); if it has its public part, that must be the private one's.
    pub fn from_pkcs8(der: &[u8]) -> Result<SigningKey, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        SigningKey::of(pair.map_err(|why| KeyError::Pkcs8(why.to_string()))?)
    }

    /// The key of a JSON Web Key with its private part; the public part must be the private one's.
    pub fn from_jwk(jwk: &Jwk) -> Result<SigningKey, KeyError> {
        let public = PublicKey::from_jwk(jwk)?;
        if jwk.kty != "OKP" {
            return Err(KeyError::Type(jwk.kty.clone()));
        }
        let key = SigningKey::from_seed(&sized(&jwk.d, "d")?)?;
        if key.public == public { Ok(key) } else { Err(KeyError::Member("x")) }
    }

    pub(in crate::protocol) fn pair(&self) -> &Ed25519KeyPair {
        &self.pair
    }

    /// Its public part.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs components of a message; the parameters stand in the order created, expires, keyid, alg, nonce, tag.
    pub fn sign(
        &self,
        label: &str,
        components: &[Component],
        parameters: &Parameters,
        message: Message<'_>,
    ) -> Result<SignatureFields, SignError> {
        if KeyRef::from_str(label).is_err() {
            return Err(SignError::Label(label.to_owned()));
        }
        for (index, component) in components.iter().enumerate() {
            if components[..index].contains(component) {
                return Err(SignError::ComponentTwice(component.text().to_owned()));
            }
        }
        let identifiers: Vec<&str> = components.iter().map(Component::text).collect();
        let params_text = format!("({}){}", identifiers.join(" "), parameters.text()?);
        let base = base(components, &params_text, message)?;
        let value = self.pair.sign(base.as_bytes());
        Ok(SignatureFields {
            input: format!("{label}={params_text}"),
            signature: format!("{label}=:{}:", STANDARD.encode(value.as_ref())),
        })
    }
}

impl Parameters {
    /// As they stand after a list of components.
    fn text(&self) -> Result<String, SignError> {
        let mut text = String::new();
        let integers = [("created", self.created), ("expires", self.expires)];
        for (name, value) in integers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            let value = Integer::try_from(value).map_err(|_| SignError::Parameter(name))?;
            text.push_str(&format!(";{name}={value}"));
        }
        let strings =
            [("keyid", &self.keyid), ("alg", &self.alg), ("nonce", &self.nonce), ("tag", &self.tag)];
        for (name, value) in strings.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            let value = StringRef::from_str(value).map_err(|_| SignError::Parameter(name))?;
            text.push_str(&format!(";{name}="));
            let _ = ItemSerializer::with_buffer(&mut text).bare_item(value).finish();
        }
        Ok(text)
    }
}
