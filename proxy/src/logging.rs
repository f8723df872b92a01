//! The log: to stderr, as text or as JSON lines. Nothing above `debug` per request on the good path.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// These warn of what strangers send them, frame by frame: whoever wants to read it says so (`info,h2=debug`).
const LIBRARIES: &str = "h2=error,hyper=error,rustls=error";

/// Starts logging for the whole process.
pub(crate) fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let of_all = format!("{LIBRARIES},{filter}");
    let filter = EnvFilter::try_new(of_all).with_context(|| format!("`{filter}` is not a log filter"))?;
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
