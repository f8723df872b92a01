//! `byline statement`: what each operator owes and each holder is owed, for a period.

use std::process::ExitCode;

/// Arguments of `byline statement`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline statement` is not finished")
}
