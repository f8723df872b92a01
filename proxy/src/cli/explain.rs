//! `byline explain`: which rule decides a fetch, with which outcome and price, and why the others do not.

use std::process::ExitCode;

/// Arguments of `byline explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline explain` is not finished")
}
