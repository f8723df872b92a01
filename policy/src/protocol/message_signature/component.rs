//! Components: what a signature can cover, and the value of each (RFC 9421 section 2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, Dictionary, FieldType, Item, Parser};

use super::message::{Message, Request, lines};
use super::{query, structured};

/// A component identifier: a field's name, or `@` and what is derived, with parameters.
///
/// Two are equal if they name the same component, in whatever order their parameters stand.
#[derive(Clone, Debug)]
pub struct Component {
    /// Name, in lower case.
    name: String,
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
        self.name == other.name && self.selector == other.selector && flags(self) == flags(other)
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
        let item: Item = Parser::new(text).parse().map_err(|_| ComponentError::NotAString)?;
        Component::from_item(&item)
    }

    pub(super) fn from_item(item: &Item) -> Result<Component, ComponentError> {
        let Some(name) = item.bare_item.as_string() else { return Err(ComponentError::NotAString) };
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
        let mut component = Component {
            name: name.to_owned(),
            selector: None,
            sf: false,
            bs: false,
            tr: false,
            req: false,
            text: item.serialize(),
        };
        for (parameter, value) in &item.params {
            let is_set = *value == BareItem::Boolean(true);
            let fits = match parameter.as_str() {
                "req" if is_set && name != "@status" => set(&mut component.req),
                "sf" if is_set && !is_derived => set(&mut component.sf),
                "bs" if is_set && !is_derived => set(&mut component.bs),
                "tr" if is_set && !is_derived => set(&mut component.tr),
                "key" if !is_derived => component.select(value),
                "name" if name == "@query-param" => component.select(value),
                _ => false,
            };
            if !fits {
                return Err(component.bad_parameter(parameter.as_str()));
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

    fn select(&mut self, value: &BareItem) -> bool {
        self.selector = value.as_string().map(|text| text.as_str().to_owned());
        self.selector.is_some()
    }

    fn bad_parameter(&self, parameter: &str) -> ComponentError {
        ComponentError::Parameter { component: self.text.clone(), parameter: parameter.to_owned() }
    }

    /// Its name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of the dictionary member that is covered, if only a member is.
    pub fn key(&self) -> Option<&str> {
        self.selector.as_deref().filter(|_| !self.name.starts_with('@'))
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
        let value = match (self.req, message) {
            (false, message) => self.value_in(message)?,
            (true, Message::Response(response)) => match response.request {
                Some(request) => self.value_in(Message::Request(request))?,
                None => return Err(ComponentError::Missing(self.text.clone())),
            },
            (true, Message::Request(_)) => return Err(ComponentError::NotForThisMessage(self.text.clone())),
        };
        if !value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return Err(ComponentError::Character(self.text.clone()));
        }
        Ok(value)
    }

    fn value_in(&self, message: Message<'_>) -> Result<String, ComponentError> {
        if !self.name.starts_with('@') {
            return self.field_value(message);
        }
        match message {
            Message::Request(request) => self.derived(request),
            Message::Response(response) if self.name == "@status" => Ok(format!("{:03}", response.status)),
            Message::Response(_) => Err(ComponentError::NotForThisMessage(self.text.clone())),
        }
    }

    /// Section 2.2.
    fn derived(&self, request: &Request<'_>) -> Result<String, ComponentError> {
        let no_path = || ComponentError::NotForThisMessage(self.text.clone());
        let path = |path: &str| if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Ok(match self.name.as_str() {
            "@method" => request.method.to_owned(),
            "@authority" => request.normal_authority(),
            "@scheme" => request.scheme.to_ascii_lowercase(),
            "@request-target" => request.target.to_owned(),
            "@path" => path(request.path_and_query().ok_or_else(no_path)?.0),
            "@query" => format!("?{}", request.path_and_query().ok_or_else(no_path)?.1.unwrap_or_default()),
            "@target-uri" => {
                let mut uri = request.scheme.to_ascii_lowercase();
                uri.push_str("://");
                uri.push_str(&request.normal_authority());
                // The target URI of `OPTIONS *` ends here (RFC 9110 section 7.1).
                if request.target != "*" {
                    let (raw_path, query) = request.path_and_query().ok_or_else(no_path)?;
                    uri.push_str(&path(raw_path));
                    if let Some(query) = query {
                        uri.push('?');
                        uri.push_str(query);
                    }
                }
                uri
            }
            "@query-param" => {
                let query = request.path_and_query().and_then(|(_, query)| query).unwrap_or_default();
                let name = self.selector.as_deref().unwrap_or_default();
                query::parameter(query, name).map_err(|count| match count {
                    0 => ComponentError::Missing(self.text.clone()),
                    count => ComponentError::Repeated { component: self.text.clone(), count },
                })?
            }
            _ => return Err(no_path()),
        })
    }

    /// Section 2.1.
    fn field_value(&self, message: Message<'_>) -> Result<String, ComponentError> {
        let fields = if self.tr { message.trailers() } else { message.fields() };
        let lines = lines(fields, &self.name);
        if lines.is_empty() {
            return Err(ComponentError::Missing(self.text.clone()));
        }
        if self.bs {
            let encoded: Vec<String> =
                lines.iter().map(|line| format!(":{}:", STANDARD.encode(line))).collect();
            return Ok(encoded.join(", "));
        }
        let value = lines.join(&b", "[..]);
        if let Some(key) = &self.selector {
            let members: Dictionary =
                Parser::new(&value).parse().map_err(|_| ComponentError::NotStructured(self.text.clone()))?;
            let member =
                members.get(key.as_str()).ok_or_else(|| ComponentError::Missing(self.text.clone()))?;
            return Ok(structured::member_text(member));
        }
        if self.sf {
            return structured::strict(&self.name, &value)
                .ok_or_else(|| ComponentError::NotStructured(self.text.clone()));
        }
        String::from_utf8(value).map_err(|_| ComponentError::Character(self.text.clone()))
    }
}

fn set(flag: &mut bool) -> bool {
    *flag = true;
    true
}

/// A token's character (RFC 9110 section 5.6.2), but no capital: names stand in lower case.
fn is_field_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
