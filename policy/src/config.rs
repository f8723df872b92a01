//! Reads policy texts and compiles them.
//!
//! Three steps, each of which goes on after a mistake so that a reader sees all of them at once: every text is read into
//! a draft (`draft`), the draft's parts are checked against each other and made into what the code sees (`resolve`), and
//! what was found is put in the order of the texts.

mod draft;
mod include;
mod licence;
mod lint;
mod payment;
mod quantity;
mod resolve;

use std::sync::Arc;

use crate::fields::Report;
use crate::{Diagnostic, Include, Mode, PolicySnapshot, Source};

/// Diagnostics shown of one policy; a text with more mistakes than this has one mistake.
const MAX_DIAGNOSTICS: usize = 200;

/// Compiles a policy; see [`PolicySnapshot::compile`].
pub(crate) fn compile(
    source: Source,
    mode: Option<Mode>,
    include: &mut Include<'_>,
) -> Result<(PolicySnapshot, Vec<Diagnostic>), Vec<Diagnostic>> {
    let report = Report::default();
    let draft = include::load(&report, source, include);
    let mut snapshot = resolve::resolve(&report, draft, mode);
    if report.has_errors() {
        return Err(report.finish(MAX_DIAGNOSTICS).1);
    }
    lint::warn(&report, &snapshot);
    payment::warn(&report, &snapshot);
    let (sources, warnings) = report.finish(MAX_DIAGNOSTICS);
    snapshot.digest = Arc::from(PolicySnapshot::digest_of(snapshot.mode, &sources));
    snapshot.sources = sources;
    Ok((snapshot, warnings))
}
