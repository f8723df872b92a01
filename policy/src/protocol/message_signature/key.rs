//! Public keys: JSON Web Keys (RFC 7517, 7518, 8037) and their thumbprints (RFC 7638).

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PSS_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

use super::ed25519;

/// An algorithm, by the registry of RFC 9421.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSASSA-PSS with SHA-512 and a salt of 64 bytes.
    RsaPssSha512,
    /// ECDSA on P-256 with SHA-256; the signature is `r || s`, 64 bytes.
    EcdsaP256Sha256,
}

impl Algorithm {
    /// The algorithm of that name in the registry of RFC 9421; `None` for those that are not accepted.
    pub fn parse(name: &str) -> Option<Algorithm> {
        [Algorithm::Ed25519, Algorithm::RsaPssSha512, Algorithm::EcdsaP256Sha256]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
    }

    /// Its name in that registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::RsaPssSha512 => "rsa-pss-sha512",
            Algorithm::EcdsaP256Sha256 => "ecdsa-p256-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The members of a JSON Web Key that are looked at, as they stand there.
#[derive(Clone, Default, Deserialize)]
pub struct Jwk {
    /// Type of the key.
    pub kty: String,
    /// Curve.
    pub crv: Option<String>,
    /// Public key, or x-coordinate.
    pub x: Option<String>,
    /// y-coordinate.
    pub y: Option<String>,
    /// Modulus.
    pub n: Option<String>,
    /// Exponent.
    pub e: Option<String>,
    /// Private part: only to sign with.
    pub d: Option<String>,
    /// Name of the key.
    pub kid: Option<String>,
    /// Algorithm, by JOSE's names.
    pub alg: Option<String>,
    /// What for: `sig` or `enc`.
    #[serde(rename = "use")]
    pub usage: Option<String>,
    /// Operations.
    pub key_ops: Option<Vec<String>>,
    /// From when.
    pub nbf: Option<serde_json::Number>,
    /// Until when.
    pub exp: Option<serde_json::Number>,
}

impl Jwk {
    /// Reads the members of a JSON object.
    pub fn from_value(value: serde_json::Value) -> Result<Jwk, KeyError> {
        // An array would be read as well, as the members in their order here.
        if !value.is_object() {
            return Err(KeyError::NotAKey("not an object".to_owned()));
        }
        serde_json::from_value(value).map_err(|error| KeyError::NotAKey(error.to_string()))
    }
}

/// Why a JSON Web Key is not one to verify signatures with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a JSON object with members of the right types.
    #[error("not a JSON Web Key: {0}")]
    NotAKey(String),
    /// A type or curve that is not used here.
    #[error("{0} keys are not accepted")]
    Type(String),
    /// A member that is missing, or is not what it should be.
    #[error("its member {0:?} is missing or is not unpadded base64url of the right length")]
    Member(&'static str),
    /// `alg` is not an algorithm for this type of key, or one that is not accepted.
    #[error("its algorithm {0:?} does not fit, or is not accepted")]
    Algorithm(String),
    /// `use` or `key_ops` say that it is not there to verify signatures with.
    #[error("it is not for signatures")]
    NotForSignatures,
    /// Small order, or an encoding that is not the canonical one.
    #[error("a weak key: of small order, or not encoded canonically")]
    Weak,
    /// Not a private key to sign with.
    #[error("not an Ed25519 key in PKCS#8: {0}")]
    Pkcs8(String),
    /// RSA with fewer than 2,048 bits, or more than 8,192.
    #[error("an RSA key of {0} bits; 2,048 to 8,192 are accepted")]
    RsaBits(usize),
}

/// A public key and its identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    material: Material,
    thumbprint: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Material {
    Ed25519([u8; 32]),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// `04 || x || y`.
    P256([u8; 65]),
}

impl PublicKey {
    /// Reads a JSON Web Key.
    pub fn from_json(text: &str) -> Result<PublicKey, KeyError> {
        let value = serde_json::from_str(text).map_err(|error| KeyError::NotAKey(error.to_string()))?;
        PublicKey::from_jwk(&Jwk::from_value(value)?)
    }

    /// Takes the public part of a JSON Web Key.
    ///
    /// `alg` may be absent, and for Ed25519 may be `EdDSA` (RFC 8037), `Ed25519` (RFC 9864) or, as some write it, `ed25519`.
    /// A P-256 key that is not on its curve is taken; no signature ever holds for it.
    pub fn from_jwk(jwk: &Jwk) -> Result<PublicKey, KeyError> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig")
            || jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify" || op == "sign"))
        {
            return Err(KeyError::NotForSignatures);
        }
        let (material, algorithms): (Material, &[&str]) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => {
                let key: [u8; 32] = sized(&jwk.x, "x")?;
                if ed25519::is_refused(&key) {
                    return Err(KeyError::Weak);
                }
                (Material::Ed25519(key), &["EdDSA", "Ed25519", "ed25519"])
            }
            ("EC", Some("P-256")) => {
                let (x, y): ([u8; 32], [u8; 32]) = (sized(&jwk.x, "x")?, sized(&jwk.y, "y")?);
                let mut point = [4; 65];
                point[1..33].copy_from_slice(&x);
                point[33..].copy_from_slice(&y);
                (Material::P256(point), &["ES256", "ecdsa-p256-sha256"])
            }
            ("RSA", _) => {
                let (n, e) = (unsigned(&jwk.n, "n")?, unsigned(&jwk.e, "e")?);
                let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
                if !(2_048..=8_192).contains(&bits) {
                    return Err(KeyError::RsaBits(bits));
                }
                // A bigger one only costs time; ring takes no more than 33 bits.
                if e.len() > 5 {
                    return Err(KeyError::Member("e"));
                }
                (Material::Rsa { n, e }, &["PS512", "rsa-pss-sha512"])
            }
            (kty, crv) => return Err(KeyError::Type(crv.unwrap_or(kty).to_owned())),
        };
        if let Some(alg) = jwk.alg.as_deref()
            && !algorithms.contains(&alg)
        {
            return Err(KeyError::Algorithm(alg.to_owned()));
        }
        Ok(PublicKey::new(material))
    }

    /// The Ed25519 key of 32 bytes.
    pub fn from_ed25519(key: &[u8; 32]) -> Result<PublicKey, KeyError> {
        if ed25519::is_refused(key) {
            Err(KeyError::Weak)
        } else {
            Ok(PublicKey::new(Material::Ed25519(*key)))
        }
    }

    fn new(material: Material) -> PublicKey {
        let thumbprint =
            URL_SAFE_NO_PAD.encode(digest(&SHA256, required_members(&material).as_bytes()).as_ref());
        PublicKey { material, thumbprint: thumbprint.into() }
    }

    /// SHA-256 of its required members (RFC 7638 section 3, RFC 8037 section 2), in base64url: the `keyid` of signatures.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    pub(crate) fn shared_thumbprint(&self) -> Arc<str> {
        Arc::clone(&self.thumbprint)
    }

    /// The algorithm that it is for.
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Ed25519(_) => Algorithm::Ed25519,
            Material::Rsa { .. } => Algorithm::RsaPssSha512,
            Material::P256(_) => Algorithm::EcdsaP256Sha256,
        }
    }

    /// Whether `signature` is this key's of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PSS_2048_8192_SHA512, message, signature).is_ok()
            }
        }
    }

    /// The JSON Web Key, with its thumbprint as `kid`, as a key directory has it.
    pub fn to_jwk(&self) -> serde_json::Value {
        let mut jwk: serde_json::Value =
            serde_json::from_str(&required_members(&self.material)).unwrap_or_default();
        jwk["kid"] = (*self.thumbprint).into();
        jwk["use"] = "sig".into();
        jwk
    }
}

/// The required members in their order, without a space: what a thumbprint is made of.
fn required_members(material: &Material) -> String {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match material {
        Material::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)),
        Material::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
        Material::P256(point) => {
            let (x, y) = (text(&point[1..33]), text(&point[33..]));
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
    }
}

fn bytes(member: &Option<String>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = member.as_deref().ok_or(KeyError::Member(name))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Member(name))
}

pub(super) fn sized<const N: usize>(
    member: &Option<String>,
    name: &'static str,
) -> Result<[u8; N], KeyError> {
    bytes(member, name)?.try_into().map_err(|_| KeyError::Member(name))
}

/// A number without leading zeros (RFC 7518 section 2): two spellings would be two thumbprints.
fn unsigned(member: &Option<String>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let bytes = bytes(member, name)?;
    if bytes.first().is_none_or(|&first| first == 0) { Err(KeyError::Member(name)) } else { Ok(bytes) }
}
