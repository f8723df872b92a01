//! `byline demo`: a sample site, the proxy in front of it, scripted crawlers, a statement and a verified ledger.

use std::process::ExitCode;

/// Arguments of `byline demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End by itself instead of staying up until Ctrl-C.
    #[arg(long)]
    pub(crate) once: bool,
}

/// Runs it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`byline demo` is not finished")
}
