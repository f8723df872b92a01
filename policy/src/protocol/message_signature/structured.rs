//! Structured fields (RFC 9651), by `sfv`, as far as signatures need more than it gives.

use std::convert::Infallible;

use sfv::visitor::{DictionaryVisitor, EntryVisitor, InnerListVisitor, ItemVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, FieldType, ItemSerializer, KeyRef, List, Parser, RefBareItem};

/// Parameters of a member, or of an item, that are read.
pub(crate) const PARAMETERS_MAX: usize = 64;

/// Why a field is not the dictionary that it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DictionaryError {
    /// Not a dictionary, or one with more than 64 parameters of one member.
    #[error("not a dictionary: {0}")]
    Syntax(String),
    /// More members than are read.
    #[error("more than {0} members")]
    TooMany(usize),
    /// A key stands there twice.
    #[error("a key stands there twice")]
    Repeated,
}

#[derive(Debug, thiserror::Error)]
#[error("more than {max} {what}")]
pub(crate) struct TooMany {
    max: usize,
    what: &'static str,
}

/// A dictionary, by reference to the field's value. One that signs a request is small, so its keys are compared, not hashed.
#[derive(Debug, Default)]
pub(crate) struct Dictionary<'a> {
    members: Vec<(&'a KeyRef, Member<'a>)>,
}

/// A member of a dictionary.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) value: Value<'a>,
    pub(crate) parameters: Parameters<'a>,
}

#[derive(Debug)]
pub(crate) enum Value<'a> {
    Bare(BareItemFromInput<'a>),
    List(Vec<Item<'a>>),
}

/// A bare item with its parameters.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) bare: BareItemFromInput<'a>,
    pub(crate) parameters: Parameters<'a>,
}

/// Parameters in their order; of one that stands there twice, the last value at the first one's place (RFC 9651 section
/// 4.2.3.2).
#[derive(Debug, Default)]
pub(crate) struct Parameters<'a>(Vec<(&'a KeyRef, BareItemFromInput<'a>)>);

impl<'a> Dictionary<'a> {
    /// Reads a dictionary in which no key stands twice.
    ///
    /// RFC 9651 lets the last one win. Where a key says which signature or whose key is meant, two readers that differ in
    /// that would believe two different things, so a repeated one is refused.
    pub(crate) fn without_repeats(
        value: &'a [u8],
        members_max: usize,
    ) -> Result<Dictionary<'a>, DictionaryError> {
        let mut reading =
            Reading { read: Dictionary::default(), members_max, is_repeated: false, is_too_long: false };
        match Parser::new(value).parse_dictionary_with_visitor(&mut reading) {
            _ if reading.is_too_long => Err(DictionaryError::TooMany(members_max)),
            Err(error) => Err(DictionaryError::Syntax(error.to_string())),
            Ok(()) if reading.is_repeated => Err(DictionaryError::Repeated),
            Ok(()) => Ok(reading.read),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Member<'a>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, member)| member)
    }

    /// The members in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &Member<'a>)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member))
    }
}

impl<'a> Parameters<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&BareItemFromInput<'a>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The parameters in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &BareItemFromInput<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn push_text(&self, text: &mut String) {
        for (name, value) in self.iter() {
            text.push(';');
            text.push_str(name);
            if !matches!(value, BareItemFromInput::Boolean(true)) {
                text.push('=');
                push_bare_text(value, text);
            }
        }
    }
}

impl<'a> Item<'a> {
    /// Reads a field that is one item.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Item<'a>> {
        let mut item = Item::default();
        Parser::new(value).parse_item_with_visitor(&mut item).ok()?;
        Some(item)
    }

    /// Appends its strict serialisation (RFC 9651 section 4.1.3).
    pub(crate) fn push_text(&self, text: &mut String) {
        push_bare_text(&self.bare, text);
        self.parameters.push_text(text);
    }
}

impl<'a> Member<'a> {
    /// The member of that key, the last one if there are several; an error if the value is not a dictionary.
    pub(super) fn of_dictionary(value: &'a [u8], key: &str) -> Result<Option<Member<'a>>, sfv::Error> {
        let mut found = Sought { key, member: None };
        Parser::new(value).parse_dictionary_with_visitor(&mut found)?;
        Ok(found.member)
    }

    /// Appends its strict serialisation, without its key: value and parameters.
    pub(crate) fn push_text(&self, text: &mut String) {
        match &self.value {
            Value::Bare(bare) => push_bare_text(bare, text),
            Value::List(items) => {
                text.push('(');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        text.push(' ');
                    }
                    item.push_text(text);
                }
                text.push(')');
            }
        }
        self.parameters.push_text(text);
    }
}

/// Strings are what signatures mostly have, and mostly have nothing to be escaped.
fn push_bare_text(bare: &BareItemFromInput<'_>, text: &mut String) {
    match bare {
        BareItemFromInput::String(string) if !string.as_str().contains(['"', '\\']) => {
            text.push('"');
            text.push_str(string.as_str());
            text.push('"');
        }
        bare => {
            let _ = ItemSerializer::with_buffer(text).bare_item(RefBareItem::from(bare)).finish();
        }
    }
}

impl Default for Item<'_> {
    fn default() -> Self {
        Item { bare: BareItemFromInput::Boolean(true), parameters: Parameters::default() }
    }
}

impl Default for Member<'_> {
    fn default() -> Self {
        Member { value: Value::Bare(BareItemFromInput::Boolean(true)), parameters: Parameters::default() }
    }
}

/// A dictionary on its way in, and what is wrong with it.
struct Reading<'a> {
    read: Dictionary<'a>,
    members_max: usize,
    is_repeated: bool,
    is_too_long: bool,
}

impl<'a> DictionaryVisitor<'a> for &mut Reading<'a> {
    type Out = ();
    type Error = TooMany;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, TooMany> {
        let members = &mut self.read.members;
        self.is_repeated |= members.iter().any(|(known, _)| *known == key);
        if members.len() == self.members_max {
            self.is_too_long = true;
            return Err(TooMany { max: self.members_max, what: "members" });
        }
        members.push((key, Member::default()));
        let (_, member) = members.last_mut().expect("it was pushed just now");
        Ok(member)
    }

    fn finish(self) -> Result<(), TooMany> {
        Ok(())
    }
}

/// One member of a dictionary, of however many.
struct Sought<'a, 'k> {
    key: &'k str,
    member: Option<Member<'a>>,
}

impl<'a> DictionaryVisitor<'a> for &mut Sought<'a, '_> {
    type Out = ();
    type Error = Infallible;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        Ok((key.as_str() == self.key).then(|| self.member.insert(Member::default())))
    }

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<'a> EntryVisitor<'a> for &mut Member<'a> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'a>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, Infallible> {
        self.value = Value::List(Vec::with_capacity(4));
        Ok(self)
    }
}

impl<'a> ItemVisitor<'a> for &mut Member<'a> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        bare: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = ()>, Infallible> {
        self.value = Value::Bare(bare);
        Ok(&mut self.parameters)
    }
}

impl<'a> InnerListVisitor<'a> for &mut Member<'a> {
    type Error = Infallible;

    fn item(&mut self) -> Result<impl ItemVisitor<'a>, Infallible> {
        let Value::List(items) = &mut self.value else { unreachable!("it was made a list before") };
        items.push(Item::default());
        Ok(items.last_mut().expect("it was pushed just now"))
    }

    fn finish(self) -> Result<impl ParameterVisitor<'a>, Infallible> {
        Ok(&mut self.parameters)
    }
}

impl<'a> ItemVisitor<'a> for &mut Item<'a> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        bare: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = ()>, Infallible> {
        self.bare = bare;
        Ok(&mut self.parameters)
    }
}

impl<'a> ParameterVisitor<'a> for &mut Parameters<'a> {
    type Out = ();
    type Error = TooMany;

    fn parameter(&mut self, key: &'a KeyRef, value: BareItemFromInput<'a>) -> Result<(), TooMany> {
        if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == key) {
            *known = value;
            return Ok(());
        }
        if self.0.len() == PARAMETERS_MAX {
            return Err(TooMany { max: PARAMETERS_MAX, what: "parameters" });
        }
        self.0.push((key, value));
        Ok(())
    }

    fn finish(self) -> Result<(), TooMany> {
        Ok(())
    }
}

/// The strict serialisation of a structured field (`;sf`, RFC 9421 section 2.1.1), by the type that its field has.
/// `None` if the field's type is not known here, or the value is not of it.
pub(super) fn strict(field: &str, value: &[u8]) -> Option<String> {
    Some(match field_type(field)? {
        Type::Dictionary => {
            Parser::new(value).parse::<sfv::Dictionary>().ok()?.serialize().unwrap_or_default()
        }
        Type::List => Parser::new(value).parse::<List>().ok()?.serialize().unwrap_or_default(),
        Type::Item => Parser::new(value).parse::<sfv::Item>().ok()?.serialize(),
        Type::DictionaryOrItem => match Parser::new(value).parse::<sfv::Dictionary>() {
            Ok(dictionary) => dictionary.serialize().unwrap_or_default(),
            Err(_) => Parser::new(value).parse::<sfv::Item>().ok()?.serialize(),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sfv::{ListEntry, ListSerializer};

    use super::*;

    /// The member as `sfv` itself writes it.
    fn written(member: &ListEntry) -> String {
        let mut serializer = ListSerializer::new();
        serializer.members(std::iter::once(member));
        serializer.finish().unwrap_or_default()
    }

    fn text(member: &Member<'_>) -> String {
        let mut text = String::new();
        member.push_text(&mut text);
        text
    }

    /// Both read the same members, with the same texts, or neither reads any.
    fn agree(value: &[u8]) {
        let theirs = Parser::new(value).parse::<sfv::Dictionary>();
        let ours = Dictionary::without_repeats(value, 64);
        match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) => {
                let theirs: Vec<_> =
                    theirs.iter().map(|(key, member)| (key.as_str(), written(member))).collect();
                let ours: Vec<_> = ours.iter().map(|(key, member)| (key, text(member))).collect();
                assert_eq!(ours, theirs, "{:?}", value.escape_ascii().to_string());
            }
            (Ok(_), Err(DictionaryError::Repeated)) | (Err(_), Err(DictionaryError::Syntax(_))) => {}
            _ => panic!("{:?}: {theirs:?}, but {ours:?}", value.escape_ascii().to_string()),
        }
        for key in ["a", "b", "c"] {
            let theirs = theirs.as_ref().ok().map(|theirs| theirs.get(key).map(written));
            let ours = Member::of_dictionary(value, key).ok().map(|member| member.as_ref().map(text));
            assert_eq!(ours, theirs, "{key} of {:?}", value.escape_ascii().to_string());
        }
    }

    #[test]
    fn corners_are_read_as_sfv_reads_them() {
        for value in [
            r#""#,
            r#"a"#,
            r#"a=?0, b=?1, c;d=?1;e=?0"#,
            r#"a=1, a=2;x, a"#,
            r#"a;x=1;y;x=2"#,
            r#"a=("x";k="v" "y";sf "z" tok 1.50);created=1;nonce="q\"\\""#,
            r#"a=()"#,
            r#"a=( 1  2 )"#,
            r#"a=:AQ==:, b=@17, c=%"f%c3%bc""#,
            r#"a=*tok/en:x, b="", c=-0.5"#,
            r#"a=(1)2"#,
            r#"a=1,"#,
            r#"a="\x""#,
        ] {
            agree(value.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read_as_sfv_reads_it(
            value in "[a-c]=?(\\(?[\"ab1?:@%;=\\\\ .)-]{0,10}[,;]? ?[a-c]?[=\"()?01:]{0,5}){0,4}",
        ) {
            agree(value.as_bytes());
        }

        #[test]
        fn members_are_read_as_sfv_reads_them(
            members in prop::collection::vec(
                ("[a-c]", prop::sample::select(vec![
                    "", "=1", "=-1.5", "=\"x y\"", "=\"\\\"\"", "=tok", "=:AA==:", "=?0", "=?1", "=()", "=(1 \"@path\";req)", "=(a;b=1;b)",
                ]), prop::collection::vec(("[x-z]", prop::sample::select(vec!["", "=1", "=?0", "=\"a\\\\b\"", "=t"])), 0..4)),
                0..4,
            ),
        ) {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value, parameters)| {
                    let parameters: String =
                        parameters.iter().map(|(name, value)| format!(";{name}{value}")).collect();
                    format!("{key}{value}{parameters}")
                })
                .collect();
            agree(members.join(", ").as_bytes());
        }
    }
}
