//! Reading in general: children, attributes, texts, lists; and telling what is wrong with them.

use std::ops::Range;

use roxmltree::{Attribute, Node};

use super::{Carrier, DIAGNOSTICS_MAX, DocumentError, TOKENS_MAX, is_rsl};
use crate::diagnostic::locate;
use crate::protocol::rsl::NAMESPACE;
use crate::protocol::rsl::vocabulary::{Extension, Token};
use crate::{Diagnostic, Severity, Source, suggest};

/// Characters of a line that a diagnostic shows; of a longer one it shows the place alone.
const EXCERPT_CHARACTERS_MAX: usize = 240;
/// Characters of a word that a diagnostic repeats.
const SHOWN_CHARACTERS_MAX: usize = 40;

/// The place of an element's name.
pub(super) fn name_of(node: &Node<'_, '_>) -> Range<usize> {
    let start = node.range().start + 1;
    let rest = node.document().input_text().get(start..).unwrap_or("");
    let length = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(rest.len());
    start..start + length
}

/// A text as it may be repeated in a sentence.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What XML calls white space; nothing else separates or surrounds values.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// One reading of a text.
pub(super) struct Reader<'s> {
    pub(super) source: &'s Source,
    pub(super) carrier: Carrier,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s Source, carrier: Carrier) -> Reader<'s> {
        Reader { source, carrier, diagnostics: Vec::new(), errors: 0 }
    }

    pub(super) fn finish<T>(self, read: T) -> Result<(T, Vec<Diagnostic>), DocumentError> {
        if self.diagnostics.iter().any(|one| one.severity == Severity::Error) {
            return Err(DocumentError::NotConformant { diagnostics: self.diagnostics });
        }
        Ok((read, self.diagnostics))
    }

    /// Whether another error would not be told. Then looking for what was meant would only take time.
    fn is_full(&self) -> bool {
        self.errors >= DIAGNOSTICS_MAX
    }

    fn tell(&mut self, severity: Severity, span: Range<usize>, message: String, help: Option<String>) {
        let is_error = severity == Severity::Error;
        if self.diagnostics.len() >= DIAGNOSTICS_MAX {
            // Warnings make room: that there is an error must never be lost.
            let warning = self.diagnostics.iter().rposition(|one| one.severity == Severity::Warning);
            match warning {
                Some(at) if is_error => self.diagnostics.remove(at),
                _ => return,
            };
        }
        self.errors += usize::from(is_error);
        let (line, column, width, mut excerpt) = locate(&self.source.text, span);
        if excerpt.chars().nth(EXCERPT_CHARACTERS_MAX).is_some() {
            excerpt = String::new();
        }
        let file = self.source.name.clone();
        self.diagnostics.push(Diagnostic { severity, file, line, column, width, excerpt, message, help });
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<&str>) {
        self.tell(Severity::Error, span, message.into(), help.map(str::to_owned));
    }

    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<&str>) {
        self.tell(Severity::Warning, span, message.into(), help.map(str::to_owned));
    }

    /// The children of RSL; foreign ones are silently ignored, unknown ones of RSL and stray text are errors.
    pub(super) fn children<'a, 'i>(&mut self, node: Node<'a, 'i>, known: &[&str]) -> Vec<Node<'a, 'i>> {
        let parent = node.tag_name().name();
        let mut children = Vec::new();
        for child in node.children() {
            let name = child.tag_name().name();
            if child.is_text() && !child.text().unwrap_or("").trim_matches(is_space).is_empty() {
                self.error(
                    child.range(),
                    format!("text within `{parent}`"),
                    Some("only elements may stand here"),
                );
            }
            if !is_rsl(&child) {
                continue;
            }
            if known.contains(&name) {
                children.push(child);
                continue;
            }
            if self.is_full() {
                continue;
            }
            let help = match suggest(name, known.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None if known.is_empty() => "it holds text alone".to_owned(),
                None => format!("it may hold {}", known.join(", ")),
            };
            self.error(
                name_of(&child),
                format!("RSL 1.0 has no `{}` within `{parent}`", shown(name)),
                Some(&help),
            );
        }
        children
    }

    /// The text of an element without children of RSL, without white space around it.
    pub(super) fn text(&mut self, node: Node<'_, '_>) -> String {
        let name = node.tag_name().name();
        for child in node.children().filter(is_rsl) {
            self.error(name_of(&child), format!("an element within `{name}`"), Some("it holds text alone"));
        }
        let text: String = node.children().filter(Node::is_text).filter_map(|text| text.text()).collect();
        text.trim_matches(is_space).to_owned()
    }

    /// The attribute of that name and of no namespace.
    pub(super) fn attribute<'a, 'i>(&self, node: Node<'a, 'i>, name: &str) -> Option<Attribute<'a, 'i>> {
        node.attributes().find(|attribute| attribute.namespace().is_none() && attribute.name() == name)
    }

    /// Warns of attributes that RSL does not know: misspelt ones change what a document says.
    pub(super) fn known_attributes(&mut self, node: Node<'_, '_>, known: &[&str]) {
        for attribute in node.attributes().filter(|attribute| attribute.namespace().is_none()) {
            let name = attribute.name();
            if !known.contains(&name) && self.diagnostics.len() < DIAGNOSTICS_MAX {
                let help = suggest(name, known.iter().copied()).map(|word| format!("did you mean `{word}`?"));
                let message =
                    format!("`{}` has no attribute `{}`; it is ignored", node.tag_name().name(), shown(name));
                self.warning(attribute.range_qname(), message, help.as_deref());
            }
        }
    }

    /// Keeps the first of what may be there once.
    pub(super) fn once<T>(&mut self, slot: &mut Option<T>, node: Node<'_, '_>, value: Option<T>) {
        if slot.is_some() {
            let message = format!("a second `{}`", node.tag_name().name());
            self.error(name_of(&node), message, Some("one is the most"));
        } else {
            *slot = value;
        }
    }

    /// A value that has to have a form.
    pub(super) fn checked(
        &mut self,
        value: String,
        span: Range<usize>,
        is_right: impl Fn(&str) -> bool,
        what: &str,
        help: &str,
    ) -> Option<String> {
        if is_right(&value) {
            return Some(value);
        }
        self.error(span, format!("`{}` is not {what}", shown(&value)), Some(help));
        None
    }

    /// The attribute's value in a form, if it is there.
    pub(super) fn optional(
        &mut self,
        node: Node<'_, '_>,
        name: &str,
        is_right: impl Fn(&str) -> bool,
        what: &str,
        help: &str,
    ) -> Option<String> {
        let attribute = self.attribute(node, name)?;
        let value = attribute.value().trim_matches(is_space).to_owned();
        self.checked(value, attribute.range_value(), is_right, what, help)
    }

    /// The same where it must be there.
    pub(super) fn required(
        &mut self,
        node: Node<'_, '_>,
        name: &str,
        is_right: impl Fn(&str) -> bool,
        what: &str,
        help: &str,
    ) -> Option<String> {
        if self.attribute(node, name).is_none() {
            self.error(name_of(&node), format!("`{}` has no `{name}`", node.tag_name().name()), Some(help));
            return None;
        }
        self.optional(node, name, is_right, what, help)
    }

    /// One of the words of a list, for an attribute that must be there.
    pub(super) fn word<T>(
        &mut self,
        node: Node<'_, '_>,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Option<T> {
        let help = format!("it is one of {}", words.join(", "));
        let Some(attribute) = self.attribute(node, name) else {
            self.error(name_of(&node), format!("`{}` has no `{name}`", node.tag_name().name()), Some(&help));
            return None;
        };
        let value = attribute.value().trim_matches(is_space);
        let word = parse(value);
        if word.is_none() && !self.is_full() {
            let near = suggest(value, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            self.error(
                attribute.range_value(),
                format!("`{}` is no {name} here", shown(value)),
                Some(&near.unwrap_or(help)),
            );
        }
        word
    }

    /// A word, or an extension's qualified name.
    pub(super) fn token<T>(
        &mut self,
        node: Node<'_, '_>,
        span: Range<usize>,
        word: &str,
        parse: &impl Fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Option<Token<T>> {
        if let Some(known) = parse(word) {
            return Some(Token::Known(known));
        }
        if self.is_full() {
            return None;
        }
        if let Some((prefix, name)) = word.split_once(':') {
            let is_name = |part: &str| {
                part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                    && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
            };
            // `xml` is always declared, and nobody's vocabulary.
            let namespace = node.lookup_namespace_uri(Some(prefix)).filter(|_| prefix != "xml");
            match namespace {
                Some(NAMESPACE) if parse(name).is_some() => return parse(name).map(Token::Known),
                Some(NAMESPACE) => {}
                Some(namespace) if is_name(name) => {
                    let (namespace, name) = (namespace.to_owned(), name.to_owned());
                    return Some(Token::Extension(Extension { namespace, name }));
                }
                Some(_) => {
                    self.error(
                        span,
                        format!("`{}` is no qualified name", shown(word)),
                        Some("write prefix:name"),
                    );
                    return None;
                }
                None => {
                    let message = format!("the prefix of `{}` is not declared", shown(word));
                    self.error(span, message, Some("declare it with xmlns:prefix=\"…\""));
                    return None;
                }
            }
        }
        let help = match word {
            _ if word.contains([',', ';']) => "words are separated by spaces; commas were RSL 0.9".to_owned(),
            "inference" if words.contains(&"use") => "it is called `use` since RSL 1.0".to_owned(),
            "UK" => "the code of the United Kingdom is `GB`".to_owned(),
            _ => match suggest(word, words.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None if words.is_empty() => "two upper-case letters of ISO 3166-1, or `EU`".to_owned(),
                None => format!("known are {}; others need a prefix", words.join(", ")),
            },
        };
        self.error(span, format!("`{}` is not a word of RSL 1.0", shown(word)), Some(&help));
        None
    }

    /// A list of words; none if there is no word in it, which is an error.
    pub(super) fn list<T>(
        &mut self,
        node: Node<'_, '_>,
        parse: impl Fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Option<Vec<Token<T>>> {
        let text = self.text(node);
        let span = text_span(node);
        // Each word's own place, if the text stands in the source as it is read.
        let written = self.source.text.get(span.clone()).unwrap_or("");
        let leading = written.len() - written.trim_start_matches(is_space).len();
        let base = (written.trim_matches(is_space) == text).then_some(span.start + leading);
        let mut tokens = Vec::new();
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            if tokens.len() == TOKENS_MAX {
                self.error(span, format!("more than {TOKENS_MAX} words in a list"), None);
                return None;
            }
            let place = match base {
                Some(base) => {
                    let at = base + (word.as_ptr() as usize - text.as_ptr() as usize);
                    at..at + word.len()
                }
                None => span.clone(),
            };
            tokens.extend(self.token(node, place, word, &parse, words));
        }
        if text.is_empty() {
            self.error(
                name_of(&node),
                format!("`{}` lists nothing", node.tag_name().name()),
                Some("leave it out"),
            );
            return None;
        }
        Some(tokens)
    }

    pub(super) fn boolean(&mut self, value: &str, span: Range<usize>) -> Option<bool> {
        match value {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                let message = format!("`{}` is neither true nor false", shown(value));
                self.error(span, message, Some("`true` or `false`, in lower case"));
                None
            }
        }
    }
}

/// The place of an element's text: of its first text, else of its name.
pub(super) fn text_span(node: Node<'_, '_>) -> Range<usize> {
    node.children().find(Node::is_text).map_or_else(|| name_of(&node), |text| text.range())
}
