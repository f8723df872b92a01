//! Structured fields (RFC 9651), by `sfv`, as far as signatures need more than it gives.

use sfv::visitor::{DictionaryVisitor, EntryVisitor};
use sfv::{Dictionary, FieldType, Item, KeyRef, List, ListEntry, ListSerializer, Parser};

/// Why a field is not the dictionary that it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DictionaryError {
    /// Not a dictionary.
    #[error("not a dictionary: {0}")]
    Syntax(String),
    /// A key stands there twice.
    #[error("a key stands there twice")]
    Repeated,
}

/// Reads a dictionary in which no key stands twice.
///
/// RFC 9651 lets the last one win. Where a key says which signature or whose key is meant, two readers that differ in that
/// would believe two different things, so a repeated one is refused.
pub(crate) fn dictionary_without_repeats(value: &[u8]) -> Result<Dictionary, DictionaryError> {
    let visitor = WithoutRepeats { read: Dictionary::new(), repeated: false };
    let (read, repeated) = Parser::new(value)
        .parse_dictionary_with_visitor(visitor)
        .map_err(|error| DictionaryError::Syntax(error.to_string()))?;
    if repeated { Err(DictionaryError::Repeated) } else { Ok(read) }
}

struct WithoutRepeats {
    read: Dictionary,
    repeated: bool,
}

impl<'de> DictionaryVisitor<'de> for WithoutRepeats {
    type Out = (Dictionary, bool);
    type Error = std::convert::Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Self::Error> {
        self.repeated |= self.read.contains_key(key);
        DictionaryVisitor::entry(&mut self.read, key)
    }

    fn finish(self) -> Result<Self::Out, Self::Error> {
        Ok((self.read, self.repeated))
    }
}

/// The strict serialisation of a dictionary's member: value and parameters, without its key.
pub(crate) fn member_text(member: &ListEntry) -> String {
    let mut serializer = ListSerializer::new();
    serializer.members(std::iter::once(member));
    serializer.finish().unwrap_or_default()
}

/// The strict serialisation of a structured field (`;sf`, RFC 9421 section 2.1.1), by the type that its field has.
/// `None` if the field's type is not known here, or the value is not of it.
pub(super) fn strict(field: &str, value: &[u8]) -> Option<String> {
    Some(match field_type(field)? {
        Type::Dictionary => Parser::new(value).parse::<Dictionary>().ok()?.serialize().unwrap_or_default(),
        Type::List => Parser::new(value).parse::<List>().ok()?.serialize().unwrap_or_default(),
        Type::Item => Parser::new(value).parse::<Item>().ok()?.serialize(),
        Type::DictionaryOrItem => match Parser::new(value).parse::<Dictionary>() {
            Ok(dictionary) => dictionary.serialize().unwrap_or_default(),
            Err(_) => Parser::new(value).parse::<Item>().ok()?.serialize(),
        },
    })
}

enum Type {
    Dictionary,
    List,
    Item,
    /// `Signature-Agent`, which was an item before it became a dictionary.
    DictionaryOrItem,
}

/// The types of the structured fields that a signature may cover, from the registry of HTTP field names.
fn field_type(field: &str) -> Option<Type> {
    Some(match field {
        "accept-signature"
        | "cdn-cache-control"
        | "content-digest"
        | "content-usage"
        | "priority"
        | "repr-digest"
        | "signature"
        | "signature-input"
        | "want-content-digest"
        | "want-repr-digest" => Type::Dictionary,
        "accept-ch" | "cache-status" | "proxy-status" | "client-cert-chain" => Type::List,
        "client-cert" | "capsule-protocol" | "deprecation" | "idempotency-key" => Type::Item,
        "signature-agent" => Type::DictionaryOrItem,
        // The field by which RFC 9421 explains itself.
        "example-dict" => Type::Dictionary,
        _ => return None,
    })
}
