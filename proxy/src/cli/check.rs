//! `byline check`: check configuration and policy files: every problem at once, with its place.

use std::process::ExitCode;

/// Arguments of `byline check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline check` is not finished")
}
