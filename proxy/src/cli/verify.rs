//! `byline verify`: verify a ledger: 0 intact, 1 tampered, 4 cannot tell.

use std::process::ExitCode;

/// Arguments of `byline verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline verify` is not finished")
}
