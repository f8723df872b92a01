//! Components: what a signature can cover, and the value of each (RFC 9421 section 2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sfv::BareItemFromInput;

use super::message::{Message, Request, joined, lines, push_lowercase};
use super::structured::{Item, Member};
use super::{query, structured};

/// A component identifier: a field's name, or `@` and what is derived, with parameters.
///
/// Two are equal if they name the same component, in whatever order their parameters stand.
#[derive(Clone, Debug)]
pub struct Component {
    /// Where in `text` its name ends, which begins after the quote.
    name_end: usize,
    /// `key` of a field, or `name` of `@query-param`.
    selector: Option<String>,
    sf: bool,
    bs: bool,
    tr: bool,
    req: bool,
    /// The identifier as it stands in the signature base.
    text: String,
}

impl PartialEq for Component {
    fn eq(&self, other: &Self) -> bool {
        let flags = |component: &Component| (component.sf, component.bs, component.tr, component.req);
        self.name() == other.name() && self.selector == other.selector && flags(self) == flags(other)
    }
}

impl Eq for Component {}

/// What is wrong with a component.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ComponentError {
    /// Not a quoted name.
    #[error("a component identifier is not a string")]
    NotAString,
    /// Not a field's name in lower case, and not a derived component that RFC 9421 knows.
    #[error("{0:?} is not the name of a component")]
    UnknownName(String),
    /// A parameter that is unknown, of another type, or does not fit the component or its other parameters.
    #[error("{component}: its parameter {parameter:?} does not fit")]
    Parameter {
        /// The component.
        component: String,
        /// The parameter.
        parameter: String,
    },
    /// The message has none such.
    #[error("{0} is not in the message")]
    Missing(String),
    /// A component that this kind of message cannot have.
    #[error("{0} does not exist for this kind of message")]
    NotForThisMessage(String),
    /// A query parameter that stands there several times may not be covered (section 2.2.8).
    #[error("{component} stands {count} times in the query")]
    Repeated {
        /// The component.
        component: String,
        /// How often.
        count: usize,
    },
    /// The value is not the structured field that `sf` or `key` need, or its field's type is not known.
    #[error("{0} is not a structured field of a known type")]
    NotStructured(String),
    /// The value has a control character, or one beyond ASCII: it cannot stand in a signature base.
    #[error("{0} has a character that no signature base can hold")]
    Character(String),
}

const DERIVED: [&str; 9] = [
    "@method",
    "@target-uri",
    "@authority",
    "@scheme",
    "@request-target",
    "@path",
    "@query",
    "@query-param",
    "@status",
];

impl Component {
    /// Reads an identifier as it would stand in `Signature-Input`: `"@method"`, `"signature-agent";key="sig1"`.
    pub fn parse(text: &str) -> Result<Component, ComponentError> {
        Component::from_item(&Item::parse(text.as_bytes()).ok_or(ComponentError::NotAString)?)
    }

    pub(super) fn from_item(item: &Item<'_>) -> Result<Component, ComponentError> {
        let BareItemFromInput::String(name) = &item.bare else { return Err(ComponentError::NotAString) };
        let name = name.as_str();
        let is_derived = name.starts_with('@');
        let is_known = if is_derived {
            DERIVED.contains(&name)
        } else {
            !name.is_empty() && name.bytes().all(is_field_name_byte)
        };
        if !is_known {
            return Err(ComponentError::UnknownName(name.to_owned()));
        }
        let mut text = String::with_capacity(48);
        item.push_text(&mut text);
        // No character of a known name is escaped.
        let name_end = 1 + name.len();
        let mut component =
            Component { name_end, selector: None, sf: false, bs: false, tr: false, req: false, text };
        for (parameter, value) in item.parameters.iter() {
            let is_set = matches!(value, BareItemFromInput::Boolean(true));
            let fits = match parameter {
                "req" if is_set && name != "@status" => set(&mut component.req),
                "sf" if is_set && !is_derived => set(&mut component.sf),
                "bs" if is_set && !is_derived => set(&mut component.bs),
                "tr" if is_set && !is_derived => set(&mut component.tr),
                "key" if !is_derived => component.select(value),
                "name" if name == "@query-param" => component.select(value),
                _ => false,
            };
            if !fits {
                return Err(component.bad_parameter(parameter));
            }
        }
        if component.bs && (component.sf || component.selector.is_some()) {
            return Err(component.bad_parameter("bs"));
        }
        if name == "@query-param" && component.selector.is_none() {
            return Err(component.bad_parameter("name"));
        }
        Ok(component)
    }

    fn select(&mut self, value: &BareItemFromInput<'_>) -> bool {
        let BareItemFromInput::String(value) = value else { return false };
        self.selector = Some(value.as_str().to_owned());
        true
    }

    fn bad_parameter(&self, parameter: &str) -> ComponentError {
        ComponentError::Parameter { component: self.text.clone(), parameter: parameter.to_owned() }
    }

    /// Its name, in lower case.
    pub fn name(&self) -> &str {
        &self.text[1..self.name_end]
    }

    /// The key of the dictionary member that is covered, if only a member is.
    pub fn key(&self) -> Option<&str> {
        self.selector.as_deref().filter(|_| !self.name().starts_with('@'))
    }

    /// Whether this covers all of what the name says: not a member, not a trailer, not the request that was answered.
    pub fn is_whole(&self) -> bool {
        self.selector.is_none() && !self.tr && !self.req
    }

    /// Whether it is of the request that a response answers (`;req`).
    pub fn is_of_request(&self) -> bool {
        self.req
    }

    /// The identifier as it stands in the signature base.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value in a message, as it stands in the signature base.
    pub fn value(&self, message: Message<'_>) -> Result<String, ComponentError> {
        let mut value = String::new();
        self.push_value(message, &mut value)?;
        Ok(value)
    }

    /// Appends that value to a signature base.
    pub(super) fn push_value(&self, message: Message<'_>, base: &mut String) -> Result<(), ComponentError> {
        let start = base.len();
        match (self.req, message) {
            (false, message) => self.push_value_in(message, base)?,
            (true, Message::Response(response)) => match response.request {
                Some(request) => self.push_value_in(Message::Request(request), base)?,
                None => return Err(ComponentError::Missing(self.text.clone())),
            },
            (true, Message::Request(_)) => return Err(ComponentError::NotForThisMessage(self.text.clone())),
        }
        if !base.as_bytes()[start..].iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return Err(ComponentError::Character(self.text.clone()));
        }
        Ok(())
    }

    fn push_value_in(&self, message: Message<'_>, base: &mut String) -> Result<(), ComponentError> {
        if !self.name().starts_with('@') {
            return self.push_field(message, base);
        }
        match message {
            Message::Request(request) => self.push_derived(request, base),
            Message::Response(response) if self.name() == "@status" => {
                base.push_str(&format!("{:03}", response.status));
                Ok(())
            }
            Message::Response(_) => Err(ComponentError::NotForThisMessage(self.text.clone())),
        }
    }

    /// Section 2.2.
    fn push_derived(&self, request: &Request<'_>, base: &mut String) -> Result<(), ComponentError> {
        let no_path = || ComponentError::NotForThisMessage(self.text.clone());
        let path_and_query = || request.path_and_query().ok_or_else(no_path);
        match self.name() {
            "@method" => base.push_str(request.method),
            "@authority" => request.push_authority(base),
            "@scheme" => push_lowercase(request.scheme, base),
            "@request-target" => base.push_str(request.target),
            "@path" => push_path(path_and_query()?.0, base),
            "@query" => {
                base.push('?');
                base.push_str(path_and_query()?.1.unwrap_or_default());
            }
            "@target-uri" => {
                push_lowercase(request.scheme, base);
                base.push_str("://");
                request.push_authority(base);
                // The target URI of `OPTIONS *` ends here (RFC 9110 section 7.1).
                if request.target != "*" {
                    let (path, query) = path_and_query()?;
                    push_path(path, base);
                    if let Some(query) = query {
                        base.push('?');
                        base.push_str(query);
                    }
                }
            }
            "@query-param" => {
                let query = request.path_and_query().and_then(|(_, query)| query).unwrap_or_default();
                let name = self.selector.as_deref().unwrap_or_default();
                let value = query::parameter(query, name).map_err(|count| match count {
                    0 => ComponentError::Missing(self.text.clone()),
                    count => ComponentError::Repeated { component: self.text.clone(), count },
                })?;
                base.push_str(&value);
            }
            _ => return Err(no_path()),
        }
        Ok(())
    }

    /// Section 2.1.
    fn push_field(&self, message: Message<'_>, base: &mut String) -> Result<(), ComponentError> {
        let fields = if self.tr { message.trailers() } else { message.fields() };
        let missing = || ComponentError::Missing(self.text.clone());
        let not_structured = || ComponentError::NotStructured(self.text.clone());
        if self.bs {
            let lines = lines(fields, self.name());
            if lines.is_empty() {
                return Err(missing());
            }
            let encoded: Vec<String> =
                lines.iter().map(|line| format!(":{}:", STANDARD.encode(line))).collect();
            base.push_str(&encoded.join(", "));
            return Ok(());
        }
        let value = joined(fields, self.name()).ok_or_else(missing)?;
        if let Some(key) = &self.selector {
            let member = Member::of_dictionary(&value, key).map_err(|_| not_structured())?;
            member.ok_or_else(missing)?.push_text(base);
        } else if self.sf {
            base.push_str(&structured::strict(self.name(), &value).ok_or_else(not_structured)?);
        } else {
            let value = str::from_utf8(&value).map_err(|_| ComponentError::Character(self.text.clone()))?;
            base.push_str(value);
        }
        Ok(())
    }
}

/// An empty path is `/` (section 2.2.6).
fn push_path(path: &str, base: &mut String) {
    base.push_str(if path.is_empty() { "/" } else { path });
}

fn set(flag: &mut bool) -> bool {
    *flag = true;
    true
}

/// A token's character (RFC 9110 section 5.6.2), but no capital: names stand in lower case.
fn is_field_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
