//! The words of RSL 1.0 (§1): closed lists, and extension tokens that are kept and not interpreted.

use std::fmt;

/// Declares an enum of words with `ALL`, `as_str`, `parse` and `Display`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = concat!("`", $word, "`.")] $variant,)+
        }

        impl $name {
            /// All words, in the order of the specification.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The word as documents have it.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// The word of that spelling; there is no other case.
            pub fn parse(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What an asset is used for: `permits type="usage"`.
    UsageClass {
        /// Any automated processing, AI and search included:
        All = "all",
        /// All uses by AI, those of the future included:
        AiAll = "ai-all",
        /// Training and fine-tuning:
        AiTrain = "ai-train",
        /// Grounding and generative answers, the summaries of AI search included:
        AiInput = "ai-input",
        /// The index or retrieval database of an AI system:
        AiIndex = "ai-index",
        /// Links with short excerpts, no summaries by AI:
        Search = "search",
    }
}

impl UsageClass {
    /// Whether this class includes all of another: `all` ⊇ `ai-all` ⊇ `ai-train`, `ai-input`, `ai-index`; `all` ⊇ `search`.
    pub fn covers(self, other: UsageClass) -> bool {
        match self {
            UsageClass::All => true,
            UsageClass::AiAll => !matches!(other, UsageClass::All | UsageClass::Search),
            _ => self == other,
        }
    }

    /// Whether there is a use in both classes.
    pub(super) fn overlaps(self, other: UsageClass) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// How narrow the class is: 0 for `all`, 1 for `ai-all`, 2 for a single use.
    pub(super) fn narrowness(self) -> u8 {
        match self {
            UsageClass::All => 0,
            UsageClass::AiAll => 1,
            _ => 2,
        }
    }
}

words! {
    /// Who is responsible for the use: `permits type="user"`.
    UserClass {
        /// A business:
        Commercial = "commercial",
        /// Anybody who does not earn with it:
        NonCommercial = "non-commercial",
        /// Teaching and research:
        Education = "education",
        /// An authority:
        Government = "government",
        /// A person:
        Personal = "personal",
    }
}

words! {
    /// What is paid for: `payment/@type`.
    PaymentType {
        /// Once:
        Purchase = "purchase",
        /// By period:
        Subscription = "subscription",
        /// For each use in training:
        Training = "training",
        /// For each fetch:
        Crawl = "crawl",
        /// For each contribution to an output of an AI system (`inference` before 1.0):
        Use = "use",
        /// In good faith, as much as one likes:
        Contribution = "contribution",
        /// Visible credit and a working link, no money:
        Attribution = "attribution",
        /// Nothing:
        Free = "free",
    }
}

impl PaymentType {
    /// Whether something is due before, or for, the fetch itself: not for what is counted per output, given in good
    /// faith, or paid with a link.
    pub fn is_due_at_fetch(self) -> bool {
        match self {
            PaymentType::Purchase
            | PaymentType::Subscription
            | PaymentType::Training
            | PaymentType::Crawl => true,
            PaymentType::Use | PaymentType::Contribution | PaymentType::Attribution | PaymentType::Free => {
                false
            }
        }
    }
}

words! {
    /// What a licensor warrants: `legal type="warranty"`.
    Warranty {
        /// That it owns the rights:
        Ownership = "ownership",
        /// That it may license:
        Authority = "authority",
        /// That nobody's rights are infringed:
        NoInfringement = "no-infringement",
        /// That personal data is used with consent:
        PrivacyConsent = "privacy-consent",
        /// That there is no malware in it:
        NoMalware = "no-malware",
    }
}

words! {
    /// What a licensor disclaims: `legal type="disclaimer"`.
    Disclaimer {
        /// All is as it is:
        AsIs = "as-is",
        /// No warranty:
        NoWarranty = "no-warranty",
        /// No liability:
        NoLiability = "no-liability",
        /// No indemnity:
        NoIndemnity = "no-indemnity",
    }
}

words! {
    /// What a licensee has to report: `reporting/@type` (erratum of 2026-06-12).
    ReportingType {
        /// Counts of use:
        Telemetry = "telemetry",
        /// Where outputs come from:
        Provenance = "provenance",
        /// What an auditor needs:
        Audit = "audit",
    }
}

words! {
    /// What a holder of copyright is: `copyright/@type`.
    HolderType {
        /// A natural person:
        Person = "person",
        /// Anything else:
        Organization = "organization",
    }
}

/// A word of a list: one of RSL's own, or an extension's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Token<T> {
    /// A word of RSL 1.0.
    Known(T),
    /// A qualified name of somebody else's vocabulary: kept, never interpreted.
    Extension(Extension),
}

impl<T: Copy> Token<T> {
    /// The word, if it is RSL's own.
    pub fn known(&self) -> Option<T> {
        match self {
            Token::Known(word) => Some(*word),
            Token::Extension(_) => None,
        }
    }
}

/// An extension token, `prefix:name`, with its prefix resolved.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Extension {
    /// The namespace that the prefix stands for.
    pub namespace: String,
    /// The local name.
    pub name: String,
}

/// A place: a country's ISO 3166-1 alpha-2 code, or `EU`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Geo([u8; 2]);

impl Geo {
    /// The European Union: no code of ISO 3166-1, but allowed in lists.
    pub const EU: Geo = Geo(*b"EU");

    /// Reads a code of two upper-case letters that ISO 3166-1 assigns, or `EU`.
    pub fn parse(code: &str) -> Option<Geo> {
        let bytes: [u8; 2] = code.as_bytes().try_into().ok()?;
        let known = Geo(bytes) == Geo::EU || has_code(COUNTRIES, bytes);
        known.then_some(Geo(bytes))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a code is two ASCII letters")
    }

    /// Whether all of another place lies in this one: a member state in `EU`.
    pub fn covers(self, other: Geo) -> bool {
        self == other || (self == Geo::EU && has_code(EU_MEMBERS, other.0))
    }

    /// Whether a place lies in both.
    pub(super) fn overlaps(self, other: Geo) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl fmt::Display for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn has_code(list: &str, code: [u8; 2]) -> bool {
    list.as_bytes().chunks_exact(2).any(|known| known == code)
}

/// The member states of the European Union, November 2026.
const EU_MEMBERS: &str = "ATBEBGCYCZDEDKEEESFIFRGRHRHUIEITLTLULVMTNLPLPTROSESISK";

/// The assigned codes of ISO 3166-1 alpha-2.
const COUNTRIES: &str = "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZ\
CACCCDCFCGCHCICKCLCMCNCOCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGY\
HKHMHNHRHTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMT\
MUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSX\
SYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWFWSYEYTZAZMZW";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_include_what_the_specification_says() {
        use UsageClass::*;
        let covered = |class: UsageClass| -> Vec<UsageClass> {
            UsageClass::ALL.iter().copied().filter(|other| class.covers(*other)).collect()
        };
        assert_eq!(covered(All), UsageClass::ALL);
        assert_eq!(covered(AiAll), [AiAll, AiTrain, AiInput, AiIndex]);
        for one in [AiTrain, AiInput, AiIndex, Search] {
            assert_eq!(covered(one), [one]);
        }
    }

    #[test]
    fn codes_are_assigned_sorted_and_complete() {
        assert_eq!(COUNTRIES.len() / 2, 249, "ISO 3166-1 assigns 249 codes");
        assert_eq!(EU_MEMBERS.len() / 2, 27);
        for list in [COUNTRIES, EU_MEMBERS] {
            let codes: Vec<&[u8]> = list.as_bytes().chunks_exact(2).collect();
            assert!(codes.windows(2).all(|two| two[0] < two[1]), "sorted, none twice");
            assert!(codes.iter().all(|code| Geo::parse(std::str::from_utf8(code).unwrap()).is_some()));
        }
        for code in ["", "E", "EUR", "eu", "de", "UK", "XX", "Ü"] {
            assert_eq!(Geo::parse(code), None, "{code}");
        }
        let (eu, de, us) = (Geo::EU, Geo::parse("DE").unwrap(), Geo::parse("US").unwrap());
        assert!(eu.covers(de) && !de.covers(eu) && !eu.covers(us) && de.overlaps(eu) && !us.overlaps(eu));
    }
}
