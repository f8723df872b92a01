//! `byline`: a transparent HTTP proxy that meters what AI crawlers fetch, under a licence policy, into a ledger that
//! anyone can check.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
