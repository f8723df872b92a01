//! TDMRep: the reservation of rights against text and data mining (W3C Community Group, final report of 2024-05-10), by which
//! holders opt out under Article 4(3) of Directive (EU) 2019/790.
//!
//! It says two things of a work: whether the rights are reserved, and where the policy is under which they can be had. It
//! says so in a file of the site ([`Rules`]), in fields of a response, in `meta` elements of a page, in the metadata of an EPUB or
//! PDF; [`resolve`] puts them together. What a policy says is [`Policy`]. Training counts as mining, plain search does not.

mod embedded;
mod policy;
mod rules;

pub use policy::{
    Address, Assigner, Constraint, Duty, POLICY_BYTES_MAX, Permission, Policy, PolicyError, Research,
};
pub use rules::{FILE_BYTES_MAX, Problem, ProblemKind, RULES_MAX, Rule, Rules, RulesError};

/// Where the file of a site is (§ "TDM File on the Origin Server").
pub const FILE_PATH: &str = "/.well-known/tdmrep.json";
/// The property, the response field and the name of the `meta` element.
pub const RESERVATION: &str = "tdm-reservation";
/// The same for the address of the policy.
pub const POLICY: &str = "tdm-policy";
/// Bytes of a policy's address; a longer one is ignored.
pub const URL_BYTES_MAX: usize = 2_048;

/// What one place says; what it does not say, it leaves as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Declaration {
    /// Whether rights are reserved: `1` or `0`. Any other value is a protocol error and says nothing.
    pub reservation: Option<bool>,
    /// Where the policy is. Never there beside a reservation of `0`.
    pub policy: Option<String>,
}

impl Declaration {
    /// Reads the values of both fields of a response, as often as each is there. Values that contradict each other say
    /// nothing.
    pub fn from_fields<'a>(
        reservation: impl IntoIterator<Item = &'a [u8]>,
        policy: impl IntoIterator<Item = &'a [u8]>,
    ) -> Declaration {
        let text = |value: &'a [u8]| std::str::from_utf8(value).unwrap_or_default();
        Declaration::of(reservation.into_iter().map(text), policy.into_iter().map(text))
    }

    /// Reads the `meta` elements of a page: their `name` (in any case) and `content`. They are about the page alone, not about what is
    /// embedded in it.
    pub fn from_meta<'a>(elements: impl IntoIterator<Item = (&'a str, &'a str)> + Clone) -> Declaration {
        let named = |wanted: &'static str| {
            let elements = elements.clone().into_iter();
            elements
                .filter(move |(name, _)| name.trim().eq_ignore_ascii_case(wanted))
                .map(|(_, content)| content)
        };
        Declaration::of(named(RESERVATION), named(POLICY))
    }

    fn of<'a>(
        reservation: impl Iterator<Item = &'a str>,
        policy: impl Iterator<Item = &'a str>,
    ) -> Declaration {
        let reservation = agreed(reservation).and_then(|value| match value {
            "1" => Some(true),
            "0" => Some(false),
            _ => None,
        });
        let policy = agreed(policy).filter(|url| is_url(url)).map(str::to_owned);
        Declaration { policy: policy.filter(|_| reservation != Some(false)), reservation }
    }

    /// Whether nothing is said.
    pub fn is_unset(&self) -> bool {
        *self == Declaration::default()
    }

    /// Name and value of the fields, or of the `meta` elements, that say this.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let reservation =
            self.reservation.map(|is_reserved| (RESERVATION, if is_reserved { "1" } else { "0" }));
        reservation.into_iter().chain(self.policy.as_deref().map(|url| (POLICY, url)))
    }

    /// The `meta` elements that say this, for the head of a page.
    pub fn to_html(&self) -> String {
        let escape = |text: &str| {
            text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
        };
        let element = |(name, content): (&str, &str)| {
            format!("<meta name=\"{name}\" content=\"{}\">\n", escape(content))
        };
        self.pairs().map(element).collect()
    }
}

/// Where something is said. A later one overrides an earlier one (§ "Processing priority").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Technique {
    /// `/.well-known/tdmrep.json`
    File,
    /// The fields of the response.
    Field,
    /// The `meta` elements of the page.
    Meta,
    /// The metadata of an EPUB or PDF file.
    Embedded,
}

/// What holds for a work, and which technique said so.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resolved {
    /// Whether rights are reserved, if anybody says.
    pub reservation: Option<(bool, Technique)>,
    /// Where the policy is, if rights are reserved.
    pub policy: Option<(String, Technique)>,
}

/// Puts together what is said in several places, in whatever order they come: each property is that of the last technique
/// that has it; one that does not have it resets nothing.
pub fn resolve(said: impl IntoIterator<Item = (Technique, Declaration)>) -> Resolved {
    let mut said: Vec<(Technique, Declaration)> = said.into_iter().collect();
    said.sort_by_key(|(technique, _)| *technique);
    let mut resolved = Resolved::default();
    for (technique, Declaration { reservation, policy }) in said {
        resolved.reservation =
            reservation.map(|is_reserved| (is_reserved, technique)).or(resolved.reservation);
        resolved.policy = policy.map(|url| (url, technique)).or(resolved.policy);
    }
    if resolved.reservation.is_none_or(|(is_reserved, _)| !is_reserved) {
        resolved.policy = None;
    }
    resolved
}

/// The value that all agree on, without the space around it.
fn agreed<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = values.next()?.trim();
    values.all(|value| value.trim() == first).then_some(first)
}

/// Whether a text can be the address of a policy: as it goes into a field, within the limit.
fn is_url(text: &str) -> bool {
    !text.is_empty() && text.len() <= URL_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(reservation: &[&str], policy: &[&str]) -> Declaration {
        Declaration::from_fields(
            reservation.iter().map(|value| value.as_bytes()),
            policy.iter().map(|value| value.as_bytes()),
        )
    }

    fn says(reservation: Option<bool>, policy: Option<&str>) -> Declaration {
        Declaration { reservation, policy: policy.map(str::to_owned) }
    }

    #[test]
    fn fields_say_one_thing_or_nothing() {
        const URL: &str = "https://p.example/policy.json";
        assert_eq!(fields(&["1"], &[URL]), says(Some(true), Some(URL)));
        assert_eq!(fields(&[" 1\t"], &[]), says(Some(true), None));
        assert_eq!(fields(&["1", "1"], &[URL, URL]), says(Some(true), Some(URL)));
        assert_eq!(fields(&["0"], &[URL]), says(Some(false), None), "a policy of nothing");
        assert_eq!(fields(&[], &[URL]), says(None, Some(URL)), "for a reservation made elsewhere");
        for odd in [&["true"][..], &["2"], &["01"], &[""], &["1", "0"], &["1, 1"], &["\u{ff11}"]] {
            assert_eq!(fields(odd, &[]), says(None, None), "{odd:?}");
        }
        let long = "a".repeat(URL_BYTES_MAX + 1);
        for odd in [&[""][..], &["a b"], &["a\nb"], &["é"], &["a", "b"], &[long.as_str()]] {
            assert_eq!(fields(&["1"], odd), says(Some(true), None), "{odd:?}");
        }
        assert!(Declaration::from_fields([&b"\xff"[..]], [&b"\xff"[..]]).is_unset());
    }

    #[test]
    fn elements_are_read_as_they_are_written() {
        let said = says(Some(true), Some("https://p.example/?a=1&b=\"<>"));
        let html = said.to_html();
        assert_eq!(
            html,
            "<meta name=\"tdm-reservation\" content=\"1\">\n\
             <meta name=\"tdm-policy\" content=\"https://p.example/?a=1&amp;b=&quot;&lt;&gt;\">\n"
        );
        assert_eq!(Declaration::from_meta(said.pairs().collect::<Vec<_>>()), said);
        let upper = [("viewport", "1"), ("TDM-Reservation", "0"), ("tdm-policy", "x")];
        assert_eq!(Declaration::from_meta(upper), says(Some(false), None));
        assert_eq!(Declaration::from_meta([("tdm:reservation", "1")]), Declaration::default());
        assert_eq!(says(None, None).pairs().count(), 0);
    }

    #[test]
    fn the_last_technique_that_says_something_counts() {
        use Technique::{Embedded, Field, File, Meta};
        let file = (File, says(Some(true), Some("f")));
        let resolved = resolve([(Meta, says(None, Some("m"))), (Field, says(None, None)), file.clone()]);
        assert_eq!(resolved.reservation, Some((true, File)));
        assert_eq!(resolved.policy, Some(("m".to_owned(), Meta)));
        let resolved = resolve([file.clone(), (Field, says(Some(false), None))]);
        assert_eq!((resolved.reservation, resolved.policy), (Some((false, Field)), None));
        let resolved = resolve([file, (Field, says(Some(false), None)), (Embedded, says(Some(true), None))]);
        assert_eq!(resolved.reservation, Some((true, Embedded)));
        assert_eq!(resolve([(Field, says(None, Some("x")))]), Resolved::default());
        assert_eq!(resolve([]), Resolved::default());
    }
}
