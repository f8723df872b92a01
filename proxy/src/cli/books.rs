//! `byline books`: the SQL books that are made from the ledger.

use std::process::ExitCode;

/// Arguments of `byline books`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline books` is not finished")
}
