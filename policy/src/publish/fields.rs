//! Response fields of a work: `Link`, `Content-Usage`, `tdm-reservation`, `tdm-policy`.
//!
//! They go with every response, whoever asked: a cache between us and the reader must not need to know who that was. They are
//! exact where files are not, because the content type is known.

use super::License;
use super::documents::{MINING, USES, reservation};
use super::robots::{preference, usage};
use super::stand::{Asker, Stand};
use crate::protocol::rsl::discovery::link_header;
use crate::protocol::tdmrep;
use crate::{PolicySnapshot, Purpose};

/// Name, in lower case, and value.
pub type Field = (&'static str, String);

/// What is known of a response's content type.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    /// It is this, or it has none.
    Type(Option<&'a str>),
    /// Nothing yet.
    AnyType,
}

/// The fields of a response for this path (with or without a query) and content type, in the order of the documentation.
///
/// Takes time linear in the rules. Nothing is said of a path that could be read in two ways, and of those that are always free.
pub(super) fn fields(
    policy: &PolicySnapshot,
    (scheme, host): (&str, &str),
    target: &str,
    of: Of<'_>,
    license: License<'_>,
) -> Vec<Field> {
    let asker = Asker::new(policy, scheme, host);
    let Some(work) = asker.work(target) else { return Vec::new() };
    if work.always_free {
        return Vec::new();
    }
    let stand = |purpose: Purpose| match of {
        Of::Type(content_type) => asker.anybody_with(purpose, &work, content_type),
        Of::AnyType => asker.anybody(purpose, &work),
    };
    let mut fields = Vec::new();
    if let License::At(url) = license
        && !USES.map(|(purpose, _)| stand(purpose)).iter().all(Stand::is_silent)
        && let Some(link) = link_header(url)
    {
        fields.push(("link", link));
    }
    let preferred = usage(preference(&stand(Purpose::Train)), preference(&stand(Purpose::Ground)));
    if !preferred.is_unknown() {
        fields.push(("content-usage", preferred.to_string()));
    }
    if let Some(is_reserved) = reservation(&MINING.map(stand)) {
        let url = work.licence.as_deref().filter(|_| is_reserved).map(str::to_owned);
        let declaration = tdmrep::Declaration { reservation: Some(is_reserved), policy: url };
        fields.extend(declaration.pairs().map(|(name, value)| (name, value.to_owned())));
    }
    fields
}
