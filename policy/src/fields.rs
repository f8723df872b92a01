//! Tables of TOML, read key by key: each mistake is reported with its place, and no mistake stops the reading.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Source;
use crate::diagnostic::{Diagnostic, Severity, suggest};

/// Mistakes that are looked at; of them the first in the order of the texts are shown.
const MAX_FOUND: usize = 1_000;

/// A range of bytes in one of the texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Number of the text in its [`Report`].
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// A diagnostic on its way.
struct Found {
    place: Place,
    /// A mistake against TOML itself: what else is wrong in the same line follows from it.
    is_syntax: bool,
    diagnostic: Diagnostic,
}

/// The texts, and what was found in them.
#[derive(Default)]
pub struct Report {
    sources: RefCell<Vec<Arc<Source>>>,
    found: RefCell<Vec<Found>>,
}

impl Report {
    /// Takes a text in; its index is its file number.
    pub fn add(&self, source: Arc<Source>) -> usize {
        self.sources.borrow_mut().push(source);
        self.sources.borrow().len() - 1
    }

    /// Whether a text of that name was taken in.
    pub fn has_source(&self, name: &str) -> bool {
        self.sources.borrow().iter().any(|source| source.name == name)
    }

    /// The name of a text.
    pub fn name(&self, file: usize) -> String {
        self.sources.borrow()[file].name.clone()
    }

    /// Whether an error was found; warnings do not count.
    pub fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(|found| found.diagnostic.severity == Severity::Error)
    }

    /// How many texts were taken in.
    pub fn source_count(&self) -> usize {
        self.sources.borrow().len()
    }

    /// Reports an error.
    pub fn error(&self, place: Place, message: impl Into<String>) {
        self.push(Severity::Error, place, message.into(), None, false);
    }

    /// Reports an error, and what would be right.
    pub fn error_help(&self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, place, message.into(), Some(help.into()), false);
    }

    /// Reports a warning.
    pub fn warning(&self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, place, message.into(), Some(help.into()), false);
    }

    /// A mistake against TOML itself.
    pub fn syntax_error(&self, place: Place, message: &str) {
        let mut lines = message.lines();
        let first = lines.next().unwrap_or("not TOML").to_owned();
        let rest: Vec<&str> = lines.collect();
        self.push(Severity::Error, place, first, (!rest.is_empty()).then(|| rest.join("; ")), true);
    }

    /// 1-based line and column.
    pub fn position(&self, place: Place) -> (usize, usize) {
        let sources = self.sources.borrow();
        let (line, column, ..) = crate::diagnostic::locate(&sources[place.file].text, place.start..place.end);
        (line, column)
    }

    fn push(&self, severity: Severity, place: Place, message: String, help: Option<String>, is_syntax: bool) {
        if self.found.borrow().len() >= MAX_FOUND {
            return; // nobody reads on, and finding places takes time
        }
        let mut diagnostic =
            Diagnostic::error(&self.sources.borrow()[place.file], place.start..place.end, message);
        diagnostic.severity = severity;
        diagnostic.help = help;
        self.found.borrow_mut().push(Found { place, is_syntax, diagnostic });
    }

    /// The texts and what was found, in the order of the texts.
    pub fn finish(self, at_most: usize) -> (Vec<Source>, Vec<Diagnostic>) {
        let mut found = self.found.into_inner();
        let broken_lines: Vec<(usize, usize)> = found
            .iter()
            .filter(|found| found.is_syntax)
            .map(|found| (found.place.file, found.diagnostic.line))
            .collect();
        found.retain(|found| {
            found.is_syntax || !broken_lines.contains(&(found.place.file, found.diagnostic.line))
        });
        found.sort_by_key(|found| (found.place.file, found.diagnostic.line, found.diagnostic.column));
        found.dedup_by(|one, other| one.diagnostic == other.diagnostic);
        let found = found.into_iter().map(|found| found.diagnostic).take(at_most).collect();
        let sources = self.sources.into_inner().into_iter().map(|source| (*source).clone()).collect();
        (sources, found)
    }
}

/// Parses a text and hands its top table to `read`; mistakes against TOML itself are reported and passed over.
pub fn parse<T>(
    report: &Report,
    source: Source,
    what: &'static str,
    read: impl FnOnce(Fields<'_, '_>) -> T,
) -> T {
    let source = Arc::new(source);
    let file = report.add(Arc::clone(&source));
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        report.syntax_error(Place { file, start: span.start, end: span.end }, error.message());
    }
    read(Fields::new(report, table.get_ref(), Place { file, start: 0, end: 0 }, what))
}

/// A table that is being read. Every key that is asked for becomes a known one; [`Fields::finish`] reports the others.
pub struct Fields<'a, 'i> {
    table: &'a DeTable<'i>,
    /// The table itself: where a missing key is missed.
    pub place: Place,
    /// How a message calls it: "`[[rule]]`".
    what: &'static str,
    report: &'a Report,
    known: RefCell<Vec<&'static str>>,
    /// Keys of which one must be there and none is, with a message and what would be right.
    missing: RefCell<Vec<(Vec<&'static str>, String, String)>>,
}

impl<'a, 'i> Fields<'a, 'i> {
    /// Starts reading a table that messages call `what`.
    pub fn new(
        report: &'a Report,
        table: &'a DeTable<'i>,
        place: Place,
        what: &'static str,
    ) -> Fields<'a, 'i> {
        Fields { table, place, what, report, known: RefCell::default(), missing: RefCell::default() }
    }

    /// The key's place and the value, whatever it is.
    fn raw(&self, key: &'static str) -> Option<(Place, &'a Spanned<DeValue<'i>>)> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        self.table.get_key_value(key).map(|(key, value)| (self.at(key.span()), value))
    }

    fn at(&self, span: Range<usize>) -> Place {
        Place { file: self.place.file, start: span.start, end: span.end }
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let place = self.at(value.span());
        let message = format!("`{key}` is {wanted}, not {found}");
        match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) if wanted.contains("string") => {
                self.report.error_help(place, message, "write it in quotes, with its unit if it has one");
            }
            _ => self.report.error(place, message),
        }
    }

    /// Where a key stands.
    pub fn key(&self, key: &'static str) -> Option<Place> {
        self.raw(key).map(|(place, _)| place)
    }

    /// A string.
    pub fn string(&self, key: &'static str) -> Option<At<String>> {
        let (_, value) = self.raw(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At { value: text.to_string(), place: self.at(value.span()) }),
            _ => {
                self.wrong_type(key, value, "a string");
                None
            }
        }
    }

    /// A string that must be there.
    pub fn required(&self, key: &'static str, help: &str) -> Option<At<String>> {
        if self.raw(key).is_none() {
            self.missing(&[key], format!("{} needs `{key}`", self.what), help);
        }
        self.string(key)
    }

    /// Reports that none of the keys is there, unless one of them turns out to be there under a wrong name.
    pub fn missing(&self, keys: &[&'static str], message: impl Into<String>, help: &str) {
        self.missing.borrow_mut().push((keys.to_vec(), message.into(), help.to_owned()));
    }

    /// A string or an array of strings. `None` if the key is missing or nothing in it can be used.
    pub fn strings(&self, key: &'static str) -> Option<Vec<At<String>>> {
        let (_, value) = self.raw(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(vec![At { value: text.to_string(), place: self.at(value.span()) }]),
            DeValue::Array(items) => {
                let mut out = Vec::new();
                for item in items.iter() {
                    match item.get_ref() {
                        DeValue::String(text) => {
                            out.push(At { value: text.to_string(), place: self.at(item.span()) });
                        }
                        _ => self.wrong_type(key, item, "a list of strings"),
                    }
                }
                Some(out)
            }
            _ => {
                self.wrong_type(key, value, "a string or a list of strings");
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        let (_, value) = self.raw(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(At { value: *flag, place: self.at(value.span()) }),
            _ => {
                self.wrong_type(key, value, "true or false");
                None
            }
        }
    }

    /// A positive integer.
    pub fn positive(&self, key: &'static str) -> Option<At<u64>> {
        let (_, value) = self.raw(key)?;
        let place = self.at(value.span());
        match value.get_ref() {
            DeValue::Integer(number) => {
                let parsed =
                    u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| *number > 0);
                if parsed.is_none() {
                    self.report.error(place, format!("`{key}` is a number from 1 to {}", u64::MAX));
                }
                parsed.map(|value| At { value, place })
            }
            _ => {
                self.wrong_type(key, value, "a number");
                None
            }
        }
    }

    /// An array of positive integers. `None` if the key is missing or is none.
    pub fn positives(&self, key: &'static str) -> Option<Vec<At<u64>>> {
        let (_, value) = self.raw(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, "a list of numbers");
            return None;
        };
        let mut out = Vec::new();
        for item in items.iter() {
            let number = match item.get_ref() {
                DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
                _ => None,
            };
            match number.filter(|number| *number > 0) {
                Some(value) => out.push(At { value, place: self.at(item.span()) }),
                None => self.wrong_type(key, item, "a list of numbers from 1"),
            }
        }
        Some(out)
    }

    /// An integer or a string with a unit, as text.
    pub fn quantity(&self, key: &'static str) -> Option<At<String>> {
        let (_, value) = self.raw(key)?;
        let place = self.at(value.span());
        match value.get_ref() {
            DeValue::String(text) => Some(At { value: text.to_string(), place }),
            DeValue::Integer(number) if number.radix() == 10 => {
                Some(At { value: number.as_str().to_owned(), place })
            }
            _ => {
                self.wrong_type(key, value, "a string with a unit");
                None
            }
        }
    }

    /// A table, inline or not.
    pub fn table(&self, key: &'static str, what: &'static str) -> Option<Fields<'a, 'i>> {
        let (key_place, value) = self.raw(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Fields::new(self.report, table, key_place, what)),
            _ => {
                self.wrong_type(key, value, "a table");
                None
            }
        }
    }

    /// An array of tables: `[[key]]`.
    pub fn tables(&self, key: &'static str, what: &'static str) -> Vec<Fields<'a, 'i>> {
        let Some((key_place, value)) = self.raw(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.report.error_help(
                key_place,
                format!("`{key}` is a list of tables"),
                format!("write `[[{key}]]` with two brackets"),
            );
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    out.push(Fields::new(self.report, table, self.at(item.span()), what));
                }
                _ => self.wrong_type(key, item, "a list of tables"),
            }
        }
        out
    }

    /// Reports a key that has its meaning elsewhere.
    pub fn misplaced(&self, key: &'static str, help: &str) {
        if let Some((place, _)) = self.raw(key) {
            self.report.error_help(place, format!("`{key}` has no place in {}", self.what), help);
        }
    }

    /// Reports the keys that nobody asked for, and those that are missing and are not among them under another name.
    pub fn finish(self) {
        let known = self.known.into_inner();
        let mut missing = self.missing.into_inner();
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let place = Place { file: self.place.file, start: key.span().start, end: key.span().end };
            let help = match suggest(name, known.iter().copied()) {
                Some(near) => {
                    missing.retain(|(keys, ..)| !keys.contains(&near));
                    format!("did you mean `{near}`?")
                }
                None => format!(
                    "it knows {}",
                    known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
                ),
            };
            self.report.error_help(place, format!("unknown key `{name}` in {}", self.what), help);
        }
        for (_, message, help) in missing {
            self.report.error_help(self.place, message, help);
        }
    }
}
