//! Requests and keys from files of vectors.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::disallowed_methods, reason = "tests read their data; the crate itself may not")]

use std::sync::Arc;

use policy::protocol::bot_auth::{KeyDirectory, KeySource, Keys};
use policy::protocol::message_signature::{Field, PublicKey, Request};
use serde_json::Value;

/// A request from a file: owns what a [`Request`] borrows.
pub struct Stored {
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
}

impl Stored {
    /// `url` must be absolute; a field's value may be a list of lines.
    pub fn new(method: &str, url: &str, headers: &Value) -> Stored {
        let (scheme, rest) = url.split_once("://").expect("an absolute URL");
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let target = match &rest[path_at..] {
            target if target.starts_with('/') => target.to_owned(),
            query => format!("/{query}"),
        };
        let mut fields = Vec::new();
        for (name, value) in headers.as_object().expect("headers") {
            match value {
                Value::Array(lines) => {
                    fields.extend(
                        lines.iter().map(|line| (name.clone(), line.as_str().expect("a line").to_owned())),
                    );
                }
                value => fields.push((name.clone(), value.as_str().expect("a value").to_owned())),
            }
        }
        Stored {
            method: method.to_owned(),
            scheme: scheme.to_owned(),
            authority: rest[..path_at].to_owned(),
            target,
            fields,
        }
    }

    pub fn fields(&self) -> Vec<Field<'_>> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    pub fn request<'a>(&'a self, fields: &'a [Field<'a>]) -> Request<'a> {
        Request {
            method: &self.method,
            scheme: &self.scheme,
            authority: &self.authority,
            target: &self.target,
            fields,
            trailers: &[],
        }
    }
}

/// Directories and agreed keys at hand.
#[derive(Default)]
pub struct AtHand {
    pub directories: Vec<Arc<KeyDirectory>>,
    pub agreed: Vec<PublicKey>,
}

impl Keys for AtHand {
    fn directory(&self, source: &KeySource) -> Option<Arc<KeyDirectory>> {
        self.directories.iter().find(|directory| directory.source() == source).cloned()
    }

    fn agreed(&self, thumbprint: &str) -> Option<PublicKey> {
        self.agreed.iter().find(|key| key.thumbprint() == thumbprint).cloned()
    }
}
