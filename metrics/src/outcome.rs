//! How a fetch ended.

/// How a metered fetch ended; every granted fetch has exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// The whole response was handed over.
    Complete,
    /// 304: the crawler's copy is still good.
    NotModified,
    /// The crawler hung up before the end.
    Aborted,
    /// The origin ended its body early or failed after its head: the response was cut.
    Truncated,
    /// The origin could not be reached or gave no usable response head.
    OriginFailed,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Outcome; 5] = [
        Outcome::Complete,
        Outcome::NotModified,
        Outcome::Aborted,
        Outcome::Truncated,
        Outcome::OriginFailed,
    ];

    /// The word used in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::NotModified => "not-modified",
            Outcome::Aborted => "aborted",
            Outcome::Truncated => "truncated",
            Outcome::OriginFailed => "origin-failed",
        }
    }

    /// The outcome of that word.
    pub fn parse(word: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}
