//! The command line: what scripts and people rely on. Each subcommand lives in a file of its name.
//!
//! Exit codes: 0 done; 1 a finding or a failure; 2 wrong usage; 3 invalid configuration; 4 (`verify`) cannot tell.
//! Data goes to stdout, words to stderr.

mod books;
mod bot_auth;
mod check;
mod demo;
mod explain;
mod health;
mod keys;
mod ledger;
mod licence;
mod lint;
mod publish;
mod replay;
mod serve;
mod statement;
mod verify;

use std::process::ExitCode;

use clap::Parser;

/// Exit code of an invalid configuration or policy.
pub(crate) const INVALID_CONFIGURATION: u8 = 3;

#[derive(Debug, Parser)]
#[command(
    name = "byline",
    version,
    about = "The copyright layer in front of AI crawlers: meters, licenses and bills what they fetch"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// A sample site, the proxy in front of it, scripted crawlers, a statement and a verified ledger.
    Demo(demo::Args),
    /// Stand in front of a site: meter what AI crawlers fetch, under a policy.
    Serve(serve::Args),
    /// Check configuration and policy files: every problem at once, with its place.
    Check(check::Args),
    /// Which rule decides a fetch, with which outcome and price, and why the others do not.
    Explain(explain::Args),
    /// What an existing access log would have earned under a policy.
    Replay(replay::Args),
    /// Whether a running Byline is ready.
    Health(health::Args),
    /// Look into a ledger.
    Ledger(ledger::Args),
    /// Verify a ledger: 0 intact, 1 tampered, 4 cannot tell.
    Verify(verify::Args),
    /// Whether the keys that an agent publishes (Web Bot Auth) are found and can be used.
    BotAuth(bot_auth::Args),
    /// The keys with which an agent signs its requests (Web Bot Auth): make, list and publish them.
    Keys(keys::Args),
    /// Licence tokens that count no more before their time.
    Licence(licence::Args),
    /// What a site's robots.txt, licence documents and fields say beside what its policy does: 0 no contradiction, 1 some.
    Lint(lint::Args),
    /// Write robots.txt, license.xml, tdmrep.json and server snippets from a policy, for a site that serves them itself.
    Publish(publish::Args),
    /// The SQL books that are made from the ledger.
    Books(books::Args),
    /// What each operator owes and each holder is owed, for a period.
    Statement(statement::Args),
}

/// Reads the command line, runs the subcommand, and turns its failure into words on stderr and exit code 1.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Health(args) => health::run(args),
        Command::Ledger(args) => ledger::run(args),
        Command::Verify(args) => verify::run(args),
        Command::BotAuth(args) => bot_auth::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Licence(args) => licence::run(args),
        Command::Lint(args) => lint::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Books(args) => books::run(args),
        Command::Statement(args) => statement::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("byline: {error:#}");
        ExitCode::FAILURE
    })
}

/// Seconds as people say them.
fn days(seconds: i64) -> String {
    match seconds {
        ..3600 => format!("{seconds} s"),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
