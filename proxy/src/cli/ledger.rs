//! `byline ledger`: look into a ledger.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use ledger::{Position, Reader};

use super::verify::ledger_directory;

/// Arguments of `byline ledger`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One entry per line, as it is stored (JSON), in order.
    Cat {
        /// The ledger's directory, or the state directory that holds it.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The first entry to print.
        #[arg(long, default_value_t = 0, value_name = "N")]
        from: u64,
    },
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Cat { directory, from } = args.command;
    let mut reader = Reader::open_at(&ledger_directory(&directory), Position { index: from })?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some((_, entry)) = reader.next_entry()? {
        let written = out.write_all(&entry).and_then(|()| out.write_all(b"\n"));
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            other => other?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        flushed => Ok(flushed.map(|()| ExitCode::SUCCESS)?),
    }
}
