//! `byline ledger`: look into a ledger.

use std::process::ExitCode;

/// Arguments of `byline ledger`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline ledger` is not finished")
}
