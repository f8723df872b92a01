//! A text of a record on its way into the ledger.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text that is shared with where it comes from, where it can be: most texts of a record are names that the policy, the
/// registry or the code has for as long as the record lives, and copying them is what making a record costs.
#[derive(Clone)]
pub enum Text {
    /// A word of the code.
    Word(&'static str),
    /// A name that others have as well.
    Shared(Arc<str>),
    /// Its own.
    Own(String),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Word(text) => text,
            Text::Shared(text) => text,
            Text::Own(text) => text,
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Text {
        Text::Word(text)
    }
}

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Text {
        Text::Shared(Arc::clone(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::Own(text)
    }
}

/// Whoever has it: it is the text that counts.
impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
