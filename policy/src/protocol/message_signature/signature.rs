//! `Signature-Input` and `Signature` (RFC 9421 section 4), the signature base (section 2.5), and verifying (section 3.2).

use std::sync::Arc;

use sfv::BareItemFromInput;

use super::message::{Field, Message, joined};
use super::structured::{self, Dictionary, DictionaryError, Item, Member, Value};
use super::{
    Algorithm, BASE_BYTES_MAX, COMPONENTS_MAX, Component, ComponentError, PublicKey,
    SIGNATURE_FIELD_BYTES_MAX, SIGNATURES_MAX,
};

/// A signature as it was received: what it covers, on what terms, and its bytes.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Its label, the key of the dictionary member.
    pub label: String,
    /// What it covers, in the order of the base.
    pub components: Vec<Component>,
    /// Its parameters.
    pub parameters: Parameters,
    /// The bytes of the signature.
    pub value: Vec<u8>,
    /// Value of `@signature-params`: the strict serialisation of the inner list and its parameters.
    params_text: String,
}

/// The parameters that RFC 9421 section 2.3 knows. Times are Unix seconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    /// When it was made.
    pub created: Option<i64>,
    /// When it ends.
    pub expires: Option<i64>,
    /// What makes it unique.
    pub nonce: Option<String>,
    /// Its algorithm, by the name in the registry of RFC 9421.
    pub alg: Option<String>,
    /// The key.
    pub keyid: Option<String>,
    /// The application for which it was made.
    pub tag: Option<String>,
}

/// What is wrong with all of a message's signatures.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignaturesError {
    /// More bytes than [`SIGNATURE_FIELD_BYTES_MAX`].
    #[error("{field} has more than {SIGNATURE_FIELD_BYTES_MAX} bytes")]
    TooLong {
        /// The field.
        field: &'static str,
    },
    /// Not a dictionary, or one with a label that stands twice.
    #[error("{field}: {error}")]
    Dictionary {
        /// The field.
        field: &'static str,
        /// What is wrong.
        error: DictionaryError,
    },
    /// More signatures than [`SIGNATURES_MAX`].
    #[error("more than {SIGNATURES_MAX} signatures")]
    TooMany,
}

/// What is wrong with one signature.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The member of `Signature-Input` is not a list of components.
    #[error("its member of Signature-Input is not an inner list")]
    NotAList,
    /// `Signature` has no member of the same label.
    #[error("Signature has no member of the same label")]
    NoValue,
    /// That member is not a byte sequence.
    #[error("its member of Signature is not a byte sequence")]
    ValueNotBytes,
    /// A parameter has a value of another type.
    #[error("its parameter {0} is of the wrong type")]
    Parameter(&'static str),
    /// A component that cannot be.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// A component that is covered twice (section 2.5).
    #[error("{0} is covered twice")]
    ComponentTwice(String),
    /// More components than [`COMPONENTS_MAX`].
    #[error("it covers more than {COMPONENTS_MAX} components")]
    TooManyComponents,
}

/// Why a signature does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VerifyError {
    /// A component has no value in this message.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// A base of more than [`BASE_BYTES_MAX`].
    #[error("its base has more than {BASE_BYTES_MAX} bytes")]
    BaseTooLong,
    /// `alg` names an algorithm that is not accepted.
    #[error("the algorithm {0:?} is not accepted")]
    AlgorithmNotAccepted(String),
    /// `alg` is not the algorithm of the key (section 3.2, step 6).
    #[error("it names {alg}, but its key is for {key}")]
    AlgorithmOfKey {
        /// What `alg` says.
        alg: Algorithm,
        /// What the key is for.
        key: Algorithm,
    },
    /// The bytes are not this key's signature of the base.
    #[error("it is not this key's signature of this message")]
    Mismatch,
}

/// A label of `Signature-Input`, whether or not its signature can be read.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The label.
    pub label: String,
    /// Its `tag`, if it has one that is a string.
    pub tag: Option<String>,
    /// The signature.
    pub signature: Result<Arc<Signature>, Malformed>,
}

/// Reads the signatures of a message, in the order of `Signature-Input`; none if it has no such field.
pub fn read_signatures(fields: &[Field<'_>]) -> Result<Vec<Candidate>, SignaturesError> {
    let Some(inputs) = joined(fields, "signature-input") else { return Ok(Vec::new()) };
    let values = joined(fields, "signature").unwrap_or_default();
    let inputs = read_dictionary("Signature-Input", &inputs)?;
    let values = read_dictionary("Signature", &values)?;
    let candidates = inputs.iter().map(|(label, input)| Candidate {
        label: label.to_owned(),
        tag: match input.parameters.get("tag") {
            Some(BareItemFromInput::String(tag)) => Some(tag.as_str().to_owned()),
            _ => None,
        },
        signature: read_signature(label, input, values.get(label)).map(Arc::new),
    });
    Ok(candidates.collect())
}

fn read_dictionary<'a>(field: &'static str, value: &'a [u8]) -> Result<Dictionary<'a>, SignaturesError> {
    if value.len() > SIGNATURE_FIELD_BYTES_MAX {
        return Err(SignaturesError::TooLong { field });
    }
    Dictionary::without_repeats(value, SIGNATURES_MAX).map_err(|error| match error {
        DictionaryError::TooMany(_) => SignaturesError::TooMany,
        error => SignaturesError::Dictionary { field, error },
    })
}

fn read_signature(
    label: &str,
    input: &Member<'_>,
    value: Option<&Member<'_>>,
) -> Result<Signature, Malformed> {
    let Value::List(list) = &input.value else { return Err(Malformed::NotAList) };
    let parameters = Parameters::read(&input.parameters)?;
    let components = read_components(list)?;
    let value = match value.map(|member| &member.value) {
        None => return Err(Malformed::NoValue),
        Some(Value::Bare(BareItemFromInput::ByteSequence(bytes))) => bytes.clone(),
        Some(_) => return Err(Malformed::ValueNotBytes),
    };
    let mut params_text = String::with_capacity(320);
    input.push_text(&mut params_text);
    Ok(Signature { label: label.to_owned(), components, parameters, value, params_text })
}

fn read_components(list: &[Item<'_>]) -> Result<Vec<Component>, Malformed> {
    if list.len() > COMPONENTS_MAX {
        return Err(Malformed::TooManyComponents);
    }
    let mut components: Vec<Component> = Vec::with_capacity(list.len());
    for item in list {
        let component = Component::from_item(item)?;
        if components.contains(&component) {
            return Err(Malformed::ComponentTwice(component.text().to_owned()));
        }
        components.push(component);
    }
    Ok(components)
}

impl Parameters {
    fn read(parameters: &structured::Parameters<'_>) -> Result<Parameters, Malformed> {
        let integer = |name: &'static str| match parameters.get(name) {
            None => Ok(None),
            Some(BareItemFromInput::Integer(value)) => Ok(Some(i64::from(*value))),
            Some(_) => Err(Malformed::Parameter(name)),
        };
        let text = |name: &'static str| match parameters.get(name) {
            None => Ok(None),
            Some(BareItemFromInput::String(value)) => Ok(Some(value.as_str().to_owned())),
            Some(_) => Err(Malformed::Parameter(name)),
        };
        Ok(Parameters {
            created: integer("created")?,
            expires: integer("expires")?,
            nonce: text("nonce")?,
            alg: text("alg")?,
            keyid: text("keyid")?,
            tag: text("tag")?,
        })
    }
}

impl Signature {
    /// The signature base of a message, as this signature covers it (section 2.5).
    ///
    /// `@signature-params` is the strict serialisation of what was received, not its bytes: an intermediary may have
    /// written the same list with other spaces (section 2.3).
    pub fn base(&self, message: Message<'_>) -> Result<String, VerifyError> {
        base(&self.components, &self.params_text, message)
    }

    /// Verifies that the signature is this key's, of this message.
    ///
    /// Nothing is said here about time, tag, or whose the key is. `alg`, if it is there, must be the key's (section 3.2).
    pub fn verify(&self, key: &PublicKey, message: Message<'_>) -> Result<(), VerifyError> {
        self.verified_base(key, message).map(|_| ())
    }

    /// The same; gives the base that was verified.
    pub(crate) fn verified_base(&self, key: &PublicKey, message: Message<'_>) -> Result<String, VerifyError> {
        if let Some(alg) = self.algorithm()?
            && alg != key.algorithm()
        {
            return Err(VerifyError::AlgorithmOfKey { alg, key: key.algorithm() });
        }
        let base = self.base(message)?;
        if key.verifies(base.as_bytes(), &self.value) { Ok(base) } else { Err(VerifyError::Mismatch) }
    }

    /// The algorithm that `alg` names.
    pub fn algorithm(&self) -> Result<Option<Algorithm>, VerifyError> {
        let Some(alg) = &self.parameters.alg else { return Ok(None) };
        match Algorithm::parse(alg) {
            Some(algorithm) => Ok(Some(algorithm)),
            None => Err(VerifyError::AlgorithmNotAccepted(alg.clone())),
        }
    }

    /// Whether it covers the whole of a field or derived component of that name, in lower case.
    pub fn covers(&self, name: &str) -> bool {
        self.components.iter().any(|component| component.name() == name && component.is_whole())
    }
}

/// The signature base: a line for each component, and `@signature-params` at last.
pub(super) fn base(
    components: &[Component],
    params_text: &str,
    message: Message<'_>,
) -> Result<String, VerifyError> {
    let mut base = String::with_capacity(512);
    for component in components {
        base.push_str(component.text());
        base.push_str(": ");
        component.push_value(message, &mut base)?;
        base.push('\n');
        if base.len() > BASE_BYTES_MAX {
            return Err(VerifyError::BaseTooLong);
        }
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(params_text);
    Ok(base)
}
