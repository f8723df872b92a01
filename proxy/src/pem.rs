//! PEM files, as lines, so that a mistake in one has a place.

use std::path::Path;

/// Why a PEM file cannot be used. Says nothing of what stands in it: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PemError {
    #[error("{path}: {source}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}:{line}: {what}")]
    Invalid { path: String, line: usize, what: String },
}

/// The text of one.
pub(crate) struct PemFile {
    path: String,
    text: String,
}

/// One `-----BEGIN …` and what follows it.
pub(crate) struct Section<'f> {
    /// Of its `-----BEGIN`, counted from 1.
    pub(crate) line: usize,
    /// What stands after `-----BEGIN `.
    pub(crate) label: &'f str,
    pub(crate) text: &'f str,
}

impl PemFile {
    pub(crate) fn read(path: &Path) -> Result<PemFile, PemError> {
        let name = path.display().to_string();
        match crate::policy_file::read(path) {
            Ok(source) => Ok(PemFile { path: name, text: source.text }),
            Err(source) => Err(PemError::Unreadable { path: name, source }),
        }
    }

    pub(crate) fn error(&self, line: usize, what: impl ToString) -> PemError {
        PemError::Invalid { path: self.path.clone(), line, what: what.to_string() }
    }

    /// The sections with such a label, each to its own end or to where the next one begins.
    pub(crate) fn sections(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Section<'_>> {
        const BEGIN: &str = "-----BEGIN ";
        let starts: Vec<usize> = self.text.match_indices(BEGIN).map(|(at, _)| at).collect();
        let ends: Vec<usize> = starts.iter().skip(1).copied().chain([self.text.len()]).collect();
        starts.into_iter().zip(ends).filter_map(move |(start, end)| {
            let text = &self.text[start..end];
            let label = text[BEGIN.len()..].split("-----").next()?;
            let line = self.text[..start].matches('\n').count() + 1;
            wanted(label).then_some(Section { line, label, text })
        })
    }

    pub(crate) fn first_line(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.sections(wanted).next().map_or(1, |section| section.line)
    }
}
