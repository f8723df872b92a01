//! `byline verify`: check a ledger from its bytes alone: 0 intact, 1 tampered, 4 cannot tell.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ledger::Verdict;

/// Exit code when there is no answer.
const CANNOT_TELL: u8 = 4;

/// Arguments of `byline verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ledger's directory, or the state directory that holds it.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Runs it. Words go to stderr; the last line of stdout names size and root.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let directory = ledger_directory(&args.directory);
    match ledger::verify(&directory) {
        Verdict::Intact { size, root, notes } => {
            for note in notes {
                eprintln!("note: {note}");
            }
            println!(
                "{}: intact: every entry, checksum and root was computed again and agrees",
                directory.display()
            );
            println!("size {size} root {}", policy::hex(&root));
            Ok(ExitCode::SUCCESS)
        }
        Verdict::Tampered { index, file, offset, why } => {
            println!("{}: TAMPERED at entry {index}: {file}, byte {offset}: {why}", directory.display());
            println!(
                "size unknown root unknown: entries before {index} agree, from {index} on nothing can be vouched for"
            );
            Ok(ExitCode::FAILURE)
        }
        Verdict::CannotTell { why } => {
            println!("{}: cannot tell: {why}", directory.display());
            Ok(ExitCode::from(CANNOT_TELL))
        }
    }
}

/// A state directory holds its ledger in `ledger/`; both may be named.
pub(crate) fn ledger_directory(named: &Path) -> PathBuf {
    let inside = named.join("ledger");
    if inside.is_dir() { inside } else { named.to_owned() }
}
