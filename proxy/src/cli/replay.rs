//! `byline replay`: what an existing access log would have earned under a policy.

use std::process::ExitCode;

/// Arguments of `byline replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline replay` is not finished")
}
