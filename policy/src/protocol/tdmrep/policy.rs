//! The policy behind a reservation: who grants which permission, on what conditions (§ "Expressing a TDM Policy").
//!
//! A profile of ODRL 2.2 in JSON-LD. The profile fixes the context and how names are written, so it is read as plain JSON.
//! A policy that cannot be read is no fault of the site's: its conditions are unknown, and the reservation stands.

use serde_json::{Map, Value, json};

/// Bytes of a policy; a longer one is not read.
pub const POLICY_BYTES_MAX: usize = 262_144;

const CONTEXT: [&str; 2] = ["http://www.w3.org/ns/odrl.jsonld", "http://www.w3.org/ns/tdmrep.jsonld"];
const PROFILE: &str = "http://www.w3.org/ns/tdmrep";

/// An offer.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Policy {
    /// Its identifier, a URI; with [`Permission::target`] it tells the holder what is asked for.
    pub uid: String,
    /// Who offers.
    pub assigner: Assigner,
    /// What is offered. Empty is nothing.
    pub permissions: Vec<Permission>,
    /// Whether there are prohibitions or obligations: the profile advises against them and they are not read, so that whoever finds
    /// them should ask a person. Never written.
    pub has_other_rules: bool,
}

/// Who holds the rights, as a vCard; nothing of it is mandatory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assigner {
    /// An identifier, a URI.
    pub uid: Option<String>,
    /// `vcard:fn`: the full name.
    pub name: Option<String>,
    /// `vcard:nickname`: the acronym.
    pub nickname: Option<String>,
    /// `vcard:hasEmail`: a `mailto:` URI.
    pub email: Option<String>,
    /// `vcard:hasAddress`
    pub address: Option<Address>,
    /// `vcard:hasTelephone`: a `tel:` URI.
    pub telephone: Option<String>,
    /// `vcard:hasURL`: a page on how to get a licence.
    pub url: Option<String>,
}

/// A postal address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// `vcard:street-address`
    pub street: Option<String>,
    /// `vcard:postal-code`
    pub postal_code: Option<String>,
    /// `vcard:locality`
    pub locality: Option<String>,
    /// `vcard:country-name`
    pub country: Option<String>,
}

/// A permission to mine.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Permission {
    /// The collection that it is about, a URI; without one, all.
    pub target: Option<String>,
    /// What must be done first; all of it.
    pub duties: Vec<Duty>,
    /// For which mining it is; all must hold.
    pub constraints: Vec<Constraint>,
}

/// What must be done before mining.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Duty {
    /// `obtainConsent`: ask, and get an answer.
    ObtainConsent,
    /// `compensate`: pay. The profile knows no price.
    Compensate,
    /// Something else: a condition that only a person can meet.
    Unknown(String),
}

/// A condition on the mining itself.
#[derive(Clone, PartialEq, Debug)]
pub enum Constraint {
    /// By its purpose (experimental).
    Purpose(Research),
    /// In one of these places, as in `urn:iso:3166:FRA` (a proposed extension).
    Spatial(Vec<String>),
    /// Something else, as it is written: nobody can say that it holds.
    Unknown(Value),
}

/// Whether mining is for research.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Research {
    /// `tdm:research`
    Research,
    /// `tdm:non-research`: anything else, commerce included.
    NonResearch,
}

impl Research {
    fn as_str(self) -> &'static str {
        match self {
            Research::Research => "tdm:research",
            Research::NonResearch => "tdm:non-research",
        }
    }
}

/// Why a policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`POLICY_BYTES_MAX`].
    #[error("the policy has {bytes} bytes; 262144 are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON.
    #[error("the policy is not JSON")]
    Json(#[from] serde_json::Error),
    /// A member is missing or has another value than the profile asks for.
    #[error("`{member}` must be {expected}")]
    Member {
        /// Which one, with those that it is in: `permission[0].action`.
        member: String,
        /// What it must be.
        expected: &'static str,
    },
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// The first thing that is not as the profile asks for.
    pub fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(PolicyError::TooLong { bytes: text.len() });
        }
        let value: Value = serde_json::from_slice(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text))?;
        let policy = Reader::new(&value, String::new())?;
        if policy.members.get("@context") != Some(&json!(CONTEXT)) {
            return Err(policy.error("@context", "the contexts of ODRL and TDMRep, in that order"));
        }
        if policy.members.get("@type") != Some(&json!("Offer")) {
            return Err(policy.error("@type", "`Offer`"));
        }
        if policy.members.get("profile") != Some(&json!(PROFILE)) {
            return Err(policy.error("profile", "`http://www.w3.org/ns/tdmrep`"));
        }
        let uid = policy.uri("uid", "")?.ok_or_else(|| policy.error("uid", "a URI"))?;
        let assigner = policy.object("assigner")?.ok_or_else(|| policy.error("assigner", "an object"))?;
        let permissions = policy.list("permission")?.ok_or_else(|| policy.error("permission", "an array"))?;
        Ok(Policy {
            uid,
            assigner: Assigner::parse(&assigner)?,
            permissions: permissions.iter().map(Permission::parse).collect::<Result<_, _>>()?,
            has_other_rules: ["prohibition", "obligation"]
                .iter()
                .any(|rule| policy.members.contains_key(*rule)),
        })
    }

    /// The permissions for a mining of that kind in a country (ISO 3166-1 alpha-3, if it is known). Each is one way to get
    /// it; its duties say how.
    pub fn permissions_for<'a>(
        &'a self,
        research: Research,
        country: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Permission> {
        let holds = move |constraint: &Constraint| match constraint {
            Constraint::Purpose(purpose) => *purpose == research,
            Constraint::Spatial(places) => country.is_some_and(|country| {
                places.iter().any(|place| {
                    let code = place.get(.."urn:iso:3166:".len()).zip(place.get("urn:iso:3166:".len()..));
                    code.is_some_and(|(scheme, code)| {
                        scheme.eq_ignore_ascii_case("urn:iso:3166:") && code.eq_ignore_ascii_case(country)
                    })
                })
            }),
            Constraint::Unknown(_) => false,
        };
        self.permissions.iter().filter(move |permission| permission.constraints.iter().all(holds))
    }

    /// The policy, as it is published under `application/json`.
    pub fn to_json(&self) -> Value {
        let permissions: Vec<Value> = self.permissions.iter().map(Permission::to_json).collect();
        json!({
            "@context": CONTEXT,
            "@type": "Offer",
            "profile": PROFILE,
            "uid": self.uid,
            "assigner": self.assigner.to_json(),
            "permission": permissions,
        })
    }
}

impl Assigner {
    fn parse(assigner: &Reader<'_>) -> Result<Assigner, PolicyError> {
        let address = assigner.object("vcard:hasAddress")?;
        let address = address.map(|address| {
            Ok::<_, PolicyError>(Address {
                street: address.text("vcard:street-address")?,
                postal_code: address.text("vcard:postal-code")?,
                locality: address.text("vcard:locality")?,
                country: address.text("vcard:country-name")?,
            })
        });
        Ok(Assigner {
            uid: assigner.uri("uid", "")?,
            name: assigner.text("vcard:fn")?,
            nickname: assigner.text("vcard:nickname")?,
            email: assigner.uri("vcard:hasEmail", "mailto:")?,
            address: address.transpose()?,
            telephone: assigner.uri("vcard:hasTelephone", "tel:")?,
            url: assigner.uri("vcard:hasURL", "")?,
        })
    }

    fn to_json(&self) -> Value {
        let address = self.address.as_ref().map(|address| {
            object([
                ("vcard:street-address", address.street.as_deref().map(Value::from)),
                ("vcard:postal-code", address.postal_code.as_deref().map(Value::from)),
                ("vcard:locality", address.locality.as_deref().map(Value::from)),
                ("vcard:country-name", address.country.as_deref().map(Value::from)),
            ])
        });
        object([
            ("uid", self.uid.as_deref().map(Value::from)),
            ("vcard:fn", self.name.as_deref().map(Value::from)),
            ("vcard:nickname", self.nickname.as_deref().map(Value::from)),
            ("vcard:hasEmail", self.email.as_deref().map(Value::from)),
            ("vcard:hasAddress", address),
            ("vcard:hasTelephone", self.telephone.as_deref().map(Value::from)),
            ("vcard:hasURL", self.url.as_deref().map(Value::from)),
        ])
    }
}

impl Permission {
    fn parse(permission: &Reader<'_>) -> Result<Permission, PolicyError> {
        if permission.members.get("action") != Some(&json!("tdm:mine")) {
            return Err(permission.error("action", "`tdm:mine`"));
        }
        let duties = permission.list("duty")?.unwrap_or_default();
        let duty = |duty: &Reader<'_>| match duty.text("action")? {
            Some(action) => Ok(match action.as_str() {
                "obtainConsent" => Duty::ObtainConsent,
                "compensate" => Duty::Compensate,
                _ => Duty::Unknown(action),
            }),
            None => Err(duty.error("action", "a text")),
        };
        let constraints = permission.list("constraint")?.unwrap_or_default();
        Ok(Permission {
            target: permission.uri("target", "")?,
            duties: duties.iter().map(duty).collect::<Result<_, _>>()?,
            constraints: constraints.iter().map(Constraint::of).collect(),
        })
    }

    fn to_json(&self) -> Value {
        let duty = |duty: &Duty| {
            let action = match duty {
                Duty::ObtainConsent => "obtainConsent",
                Duty::Compensate => "compensate",
                Duty::Unknown(action) => action,
            };
            json!({ "action": action })
        };
        let list = |values: Vec<Value>| (!values.is_empty()).then_some(Value::Array(values));
        object([
            ("target", self.target.as_deref().map(Value::from)),
            ("action", Some(Value::from("tdm:mine"))),
            ("duty", list(self.duties.iter().map(duty).collect())),
            ("constraint", list(self.constraints.iter().map(Constraint::to_json).collect())),
        ])
    }
}

impl Constraint {
    fn of(constraint: &Reader<'_>) -> Constraint {
        let whole = || Value::Object(constraint.members.clone());
        let purposes = [Research::Research, Research::NonResearch].map(Constraint::Purpose);
        if let Some(purpose) = purposes.into_iter().find(|purpose| purpose.to_json() == whole()) {
            return purpose;
        }
        let places = constraint.members.get("rightOperand").and_then(Value::as_array);
        let places = places.and_then(|places| {
            places.iter().map(|place| place.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        match places.map(Constraint::Spatial) {
            Some(spatial) if spatial.to_json() == whole() => spatial,
            _ => Constraint::Unknown(whole()),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Constraint::Purpose(research) => {
                json!({ "leftOperand": "purpose", "operator": "eq", "rightOperand": research.as_str() })
            }
            Constraint::Spatial(places) => {
                json!({ "leftOperand": "spatial", "operator": "isPartOf", "rightOperand": places })
            }
            Constraint::Unknown(value) => value.clone(),
        }
    }
}

/// The members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(members.collect::<Map<_, _>>())
}

/// An object, and where it is.
struct Reader<'a> {
    members: &'a Map<String, Value>,
    place: String,
}

impl<'a> Reader<'a> {
    fn new(value: &'a Value, place: String) -> Result<Reader<'a>, PolicyError> {
        match value {
            Value::Object(members) => Ok(Reader { members, place }),
            _ => Err(PolicyError::Member {
                member: if place.is_empty() { "policy".to_owned() } else { place },
                expected: "an object",
            }),
        }
    }

    fn place_of(&self, member: &str) -> String {
        if self.place.is_empty() { member.to_owned() } else { format!("{}.{member}", self.place) }
    }

    fn error(&self, member: &str, expected: &'static str) -> PolicyError {
        PolicyError::Member { member: self.place_of(member), expected }
    }

    fn text(&self, member: &str) -> Result<Option<String>, PolicyError> {
        match self.members.get(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.error(member, "a text")),
        }
    }

    /// A URI, of this scheme if one is named.
    fn uri(&self, member: &str, scheme: &'static str) -> Result<Option<String>, PolicyError> {
        let expected = match scheme {
            "mailto:" => "a URI of the scheme `mailto`",
            "tel:" => "a URI of the scheme `tel`",
            _ => "a URI",
        };
        let Some(text) = self.text(member)? else { return Ok(None) };
        let (name, rest) = text.split_once(':').unwrap_or_default();
        let has_scheme = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        if !has_scheme || rest.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(self.error(member, expected));
        }
        Ok(Some(text))
    }

    fn object(&self, member: &str) -> Result<Option<Reader<'a>>, PolicyError> {
        self.members.get(member).map(|value| Reader::new(value, self.place_of(member))).transpose()
    }

    /// An array of objects.
    fn list(&self, member: &str) -> Result<Option<Vec<Reader<'a>>>, PolicyError> {
        let Some(value) = self.members.get(member) else { return Ok(None) };
        let Value::Array(values) = value else { return Err(self.error(member, "an array")) };
        let place = self.place_of(member);
        let read = |(index, value)| Reader::new(value, format!("{place}[{index}]"));
        values.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
    }
}

#[cfg(test)]
mod tests;
