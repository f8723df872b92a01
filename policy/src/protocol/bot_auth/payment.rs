//! What a signature must cover before money moves, and what must be remembered so that it moves once.

use ring::digest::{Context, SHA256};

use super::agent::KeySource;
use super::verify::Verified;

/// What a request must have signed before it may be charged.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaymentCover<'a> {
    /// Names, in lower case, of the fields of this request that state or pay a price.
    pub fields: &'a [&'a str],
    /// Whether the request has a body, which must then be covered through `content-digest`.
    pub body: bool,
}

/// What is not covered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotCovered {
    /// A field with a price: whoever passed the request on may have changed it.
    #[error("the field {0} is not covered by the signature")]
    Field(String),
    /// Neither `@target-uri`, nor `@method` and `@path`, nor a nonce: the signature could be used again for another work.
    #[error("the signature covers neither @target-uri nor @method with @path, and has no nonce")]
    Work,
    /// The body.
    #[error("content-digest is not covered by the signature")]
    Body,
}

impl Verified {
    /// Whether this signature says what is bought and for how much.
    ///
    /// A signature of `@authority` alone says who is there, not what is fetched: seen once, it could be sent again with any
    /// path until it expires.
    pub fn covers_payment(&self, cover: &PaymentCover<'_>) -> Result<(), NotCovered> {
        if let Some(field) = cover.fields.iter().find(|field| !self.covers(field)) {
            return Err(NotCovered::Field((*field).to_owned()));
        }
        let covers_work = self.covers("@target-uri")
            || self.covers("@method") && self.covers_path()
            || self.nonce().is_some();
        if !covers_work {
            return Err(NotCovered::Work);
        }
        if cover.body && !self.covers("content-digest") {
            return Err(NotCovered::Body);
        }
        Ok(())
    }

    fn covers_path(&self) -> bool {
        self.covers("@path") || self.covers("@request-target")
    }
}

/// What a replay store must remember of a signature, and until when.
///
/// With a nonce it is agent, key and nonce: a nonce is good once, whatever else is signed with it. Without one it is agent,
/// key and the signature base, not the bytes of the signature: of an ECDSA signature anybody can make a second one that
/// holds as well. So two requests that are alike in all that is covered, within the same second, are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReplayKey {
    /// SHA-256.
    pub digest: [u8; 32],
    /// Unix seconds from which the signature is refused as expired, so that it may be forgotten.
    pub until: i64,
}

impl ReplayKey {
    pub(super) fn new(
        source: Option<&KeySource>,
        keyid: &str,
        nonce: Option<&str>,
        base: &str,
        until: i64,
    ) -> ReplayKey {
        let identity = source.map_or("", |source| source.identity().as_str());
        let (kind, unique) = match nonce {
            Some(nonce) => ("nonce", nonce),
            None => ("base", base),
        };
        let mut context = Context::new(&SHA256);
        for part in [identity, keyid, kind, unique] {
            // Lengths, so that no two lists of parts are the same bytes.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        ReplayKey { digest, until }
    }
}
