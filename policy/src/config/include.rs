//! Loads a policy and all that it includes, depth first.

use std::sync::Arc;

use toml::de::DeTable;

use super::draft::{self, Draft};
use crate::diagnostic::suggest;
use crate::fields::{At, Place, Report};
use crate::{Include, Source};

/// Bytes of one text.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// Texts of one policy.
const MAX_TEXTS: usize = 32;
/// Includes within includes.
const MAX_DEPTH: usize = 8;

/// Policies that come with Byline, by name.
pub(crate) const PRESETS: [(&str, &str); 3] = [
    ("news", include_str!("../../presets/news.toml")),
    ("docs", include_str!("../../presets/docs.toml")),
    ("shop", include_str!("../../presets/shop.toml")),
];

/// Reads a policy and its includes into one draft.
pub(crate) fn load(report: &Report, source: Source, include: &mut Include<'_>) -> Draft {
    let mut draft = Draft::default();
    load_one(report, source, 0, &mut draft, include);
    draft
}

fn load_one(report: &Report, source: Source, depth: usize, draft: &mut Draft, include: &mut Include<'_>) {
    let source = Arc::new(source);
    let file = report.add(source.clone());
    let whole = Place { file, start: 0, end: 0 };
    if source.text.len() > MAX_TEXT_BYTES {
        report.error(whole, format!("the text is longer than {MAX_TEXT_BYTES} bytes"));
        return;
    }
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        report.syntax_error(Place { file, start: span.start, end: span.end }, error.message());
    }
    let is_own = depth == 0;
    for wanted in draft::read(report, table.get_ref(), whole, is_own, draft) {
        if depth + 1 > MAX_DEPTH || report.source_count() >= MAX_TEXTS {
            report.error(
                wanted.place,
                format!("a policy includes at most {MAX_TEXTS} texts, {MAX_DEPTH} levels deep"),
            );
            return;
        }
        match find(&wanted, &source.name, include) {
            Ok(found) if report.has_source(&found.name) => {
                report.error_help(
                    wanted.place,
                    format!("`{}` is included already", wanted.value),
                    "each text counts once; take this line out",
                );
            }
            Ok(found) => load_one(report, found, depth + 1, draft, include),
            Err((message, help)) => match help {
                Some(help) => report.error_help(wanted.place, message, help),
                None => report.error(wanted.place, message),
            },
        }
    }
}

fn find(
    wanted: &At<String>,
    including: &str,
    include: &mut Include<'_>,
) -> Result<Source, (String, Option<String>)> {
    let Some(name) = wanted.value.strip_prefix("preset:") else {
        return include(&wanted.value, including)
            .map_err(|error| (format!("`{}` cannot be included: {error}", wanted.value), None));
    };
    let names = || PRESETS.iter().map(|(name, _)| *name);
    match PRESETS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok(Source { name: wanted.value.clone(), text: (*text).to_owned() }),
        None => {
            let help = match suggest(name, names()) {
                Some(near) => format!("did you mean `preset:{near}`?"),
                None => format!("the presets are {}", names().collect::<Vec<_>>().join(", ")),
            };
            Err((format!("there is no preset `{name}`"), Some(help)))
        }
    }
}
