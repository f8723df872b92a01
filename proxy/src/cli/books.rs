//! `byline books`: the SQL books that are made from the ledger.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use billing::books::{Books, Extent};

/// Arguments of `byline books`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the books again from the ledger's first entry on.
    Rebuild(State),
    /// Bring the books up to date and print their digest: equal for equal books.
    Digest(State),
}

#[derive(Debug, clap::Args)]
struct State {
    /// The state directory of `byline serve`: the books are DIR/books.sqlite, of the ledger DIR/ledger.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Rebuild(State { state }) => rebuild(&state),
        Command::Digest(State { state }) => {
            let books = Books::open(&state).with_context(|| failed(&state))?;
            print(books.extent()?, &books.digest()?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn rebuild(state: &Path) -> anyhow::Result<ExitCode> {
    // What the old books say once they are up to date: the new ones must say the same. Old books that cannot be
    // used have nothing to compare.
    let old = state.join("books.sqlite").exists().then(|| Books::open(state)).and_then(Result::ok);
    let before = old.as_ref().and_then(|books| Some((books.extent().ok()?, books.digest().ok()?)));
    drop(old);
    let books = Books::rebuild(state).with_context(|| failed(state))?;
    let (extent, digest) = (books.extent()?, books.digest()?);
    print(extent, &digest);
    match before {
        Some((size_before, digest_before)) if size_before == extent => {
            if digest_before == digest {
                eprintln!("byline: the books are equal to what they were");
            } else {
                eprintln!(
                    "byline: the old books said something else (digest {digest_before}); the ledger is the truth"
                );
            }
        }
        Some(_) => eprintln!("byline: the ledger grew while the books were made; they have all of it"),
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn print(extent: Extent, digest: &str) {
    println!("entries {}", extent.size);
    println!("root {}", policy::hex(&extent.root));
    println!("digest sha256:{digest}");
}

fn failed(state: &Path) -> String {
    format!("the books of {} cannot be made", state.display())
}
