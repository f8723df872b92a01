//! A diagnostic: one thing that is wrong in a text, shown as compilers show it.
//!
//! ```text
//! error: unknown key `pric` in `charge`
//!   --> policy.toml:12:12
//!    |
//! 12 | charge = { pric = "0.002 USD", per = "fetch" }
//!    |            ^^^^
//!    = help: did you mean `price`?
//! ```

use std::fmt;
use std::ops::Range;

use crate::Source;

/// How grave a diagnostic is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

impl Severity {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong in a text, with its place and what would be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// The source's name.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// Length of the marked text in characters, at least 1.
    pub width: usize,
    /// The offending line, as it stands.
    pub excerpt: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error about a range of bytes of a text; the mark ends with the line.
    pub fn error(source: &Source, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        let (line, column, width, excerpt) = locate(&source.text, span);
        Diagnostic {
            severity: Severity::Error,
            file: source.name.clone(),
            line,
            column,
            width,
            excerpt,
            message: message.into(),
            help: None,
        }
    }

    /// The same with a word on what would be right.
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }
}

/// Shows one diagnostic over several lines, ending with a line feed.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What stands in a policy must not steer a terminal; tabs stay, so that the mark stays under its text.
        let harmless = |text: &str, kept: &[char]| -> String {
            let shown = |c: char| if c.is_control() && !kept.contains(&c) { '\u{fffd}' } else { c };
            text.chars().map(shown).collect()
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{}: {}", self.severity.as_str(), harmless(&self.message, &['\n']))?;
        writeln!(f, "{gutter}--> {}:{}:{}", harmless(&self.file, &[]), self.line, self.column)?;
        if !self.excerpt.trim().is_empty() {
            let excerpt = harmless(&self.excerpt, &['\t']);
            let before: String =
                excerpt.chars().take(self.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{number} | {excerpt}")?;
            writeln!(f, "{gutter} | {before}{}", "^".repeat(self.width))?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "{gutter} = help: {}", harmless(help, &['\n']))?;
        }
        Ok(())
    }
}

/// Shows diagnostics as compilers do, an empty line between them.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The known word nearest to what was written, if it is near enough to be what was meant.
pub fn suggest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = written.to_lowercase();
    let distance = |word: &str| {
        let word = word.to_lowercase();
        let longest = word.chars().count().max(folded.chars().count());
        let distance = if longest > 200 { usize::MAX } else { strsim::damerau_levenshtein(&folded, &word) };
        // `training` for `train`: the same word, longer.
        let is_longer = word.len() >= 4
            && (folded.starts_with(&word) || (folded.len() >= 4 && word.starts_with(&folded)));
        let near = if longest < 3 { 0 } else { 1.max(longest / 3) };
        if is_longer { Some(distance.min(near)) } else { (distance <= near).then_some(distance) }
    };
    known
        .into_iter()
        .filter_map(|word| distance(word).map(|distance| (distance, word)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Line, column, width and the line's text of a range of bytes.
pub(crate) fn locate(text: &str, span: Range<usize>) -> (usize, usize, usize, String) {
    let start = floor_char_boundary(text, span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;
    let end = floor_char_boundary(text, span.end).clamp(start, line_end);
    let width = text[start..end].trim_end().chars().count().max(1);
    (line, column, width, text[line_start..line_end].trim_end_matches('\r').to_owned())
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_policy_steers_a_terminal() {
        let source = Source { name: "a\x1b[31m".to_owned(), text: "b\x1b[2J = 1\n".to_owned() };
        let wrong = Diagnostic::error(&source, 0..5, "unknown key `b\x1b[2J`").with_help("not \u{9b}31m");
        assert!(!wrong.to_string().chars().any(|c| c.is_control() && c != '\n'), "{wrong}");
    }

    #[test]
    fn a_diagnostic_reads_like_a_compilers() {
        let source = Source { name: "policy.toml".to_owned(), text: "a = 1\n\tprix = \"ü\"\n".to_owned() };
        let shown =
            Diagnostic::error(&source, 7..11, "unknown key `prix`").with_help("did you mean `price`?");
        let expect = "error: unknown key `prix`\n --> policy.toml:2:2\n  |\n2 | \tprix = \"ü\"\n  | \t^^^^\n  = help: did you mean `price`?\n";
        assert_eq!(shown.to_string(), expect);
    }

    #[test]
    fn any_range_of_any_text_has_a_place() {
        for text in ["", "\n", "ä", "a\r\nb", "\u{1b}[31m", "äö\nüß\n"] {
            for start in 0..text.len() + 3 {
                for end in 0..text.len() + 3 {
                    let source = Source { name: "x".to_owned(), text: text.to_owned() };
                    let shown = Diagnostic::error(&source, start..end, "m");
                    assert!(shown.line >= 1 && shown.column >= 1 && shown.width >= 1);
                    assert!(!shown.to_string().contains('\u{1b}'));
                }
            }
        }
    }

    #[test]
    fn suggestions_are_near_or_none() {
        let known = ["price", "per", "max", "repeat_free"];
        assert_eq!(suggest("pric", known), Some("price"));
        assert_eq!(suggest("Price", known), Some("price"));
        assert_eq!(suggest("repeatfree", known), Some("repeat_free"));
        assert_eq!(suggest("zebra", known), None);
        assert_eq!(suggest("", known), None);
        assert_eq!(suggest("b", ["a"]), None);
        assert_eq!(suggest("training", ["train", "search"]), Some("train"));
    }
}
