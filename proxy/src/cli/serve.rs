//! `byline serve`: stand in front of a site: meter what AI crawlers fetch, under a policy.

use std::process::ExitCode;

/// Arguments of `byline serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline serve` is not finished")
}
