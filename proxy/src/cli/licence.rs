//! `byline licence`: licence tokens that count no more before their time.

use std::path::PathBuf;
use std::process::ExitCode;

use policy::protocol::cap::{LicenseToken, TokenId};

use super::days;
use crate::licence::revocations::{Revocation, Revocations, Revoked};
use crate::shared::now_micros;

/// Arguments of `byline licence`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Revoke a token, or all tokens that an operator has: a running server refuses them from the next fetch on.
    Revoke {
        #[command(flatten)]
        state: State,
        /// The token, or its id as records have it: 32 hex digits.
        #[arg(value_name = "TOKEN", value_parser = token, required_unless_present = "operator")]
        token: Option<Named>,
        /// All tokens that were given to this operator until now; `*`: those that are nobody's in particular.
        #[arg(long, value_name = "ID", value_parser = operator, conflicts_with = "token")]
        operator: Option<String>,
    },
    /// What is revoked, and until when that matters.
    List {
        #[command(flatten)]
        state: State,
        /// A table for people, or one JSON object a line.
        #[arg(long, default_value = "text")]
        format: Format,
    },
}

#[derive(Debug, clap::Args)]
struct State {
    /// The state directory of `byline serve`.
    #[arg(long, value_name = "DIR", default_value = "byline-state")]
    state: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// A token by its name, and when it expires, if that is known.
#[derive(Clone, Debug)]
struct Named {
    id: TokenId,
    expires: Option<u64>,
}

/// A whole token says when it expires; whoever signed it, to revoke it does no harm.
fn token(text: &str) -> Result<Named, String> {
    if let Some(claims) = LicenseToken::read_unverified(text) {
        return Ok(Named { id: claims.id, expires: claims.expires });
    }
    let id = TokenId::parse(text).ok_or("neither a token nor 32 hex digits, as records have them")?;
    Ok(Named { id, expires: None })
}

fn operator(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "an operator's id has letters, digits and no spaces".to_owned())
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Revoke { state, token, operator } => {
            let (what, until) = match (token, operator) {
                (Some(token), _) => (Revoked::Token(token.id), token.expires),
                (None, operator) => (Revoked::Operator(operator.unwrap_or_default()), None),
            };
            let said = in_words(&what);
            let is_new = Revocations::of(&state.state).add(what, until, now())?;
            eprintln!("byline: {said} {}", if is_new { "is revoked" } else { "was revoked already" });
        }
        Command::List { state, format } => {
            for revocation in Revocations::of(&state.state).list()? {
                match format {
                    Format::Text => println!("{}", line(&revocation)),
                    Format::Json => println!("{}", json(&revocation)),
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn now() -> u64 {
    u64::try_from(now_micros() / 1_000_000).unwrap_or(0)
}

fn in_words(what: &Revoked) -> String {
    match what {
        Revoked::Token(id) => format!("the token {id}"),
        Revoked::Operator(name) => format!("what the operator {name} has"),
    }
}

fn line(revocation: &Revocation) -> String {
    let (kind, name) = parts(&revocation.what);
    let between = |from: u64, to: u64| days(i64::try_from(to.saturating_sub(from)).unwrap_or(i64::MAX));
    let (ago, left) = (between(revocation.at, now()), between(now(), revocation.until));
    format!("{kind:<8}  {name:<32}  revoked {ago} ago, kept for {left}")
}

fn json(revocation: &Revocation) -> String {
    let (kind, name) = parts(&revocation.what);
    serde_json::json!({ kind: name, "revoked": revocation.at, "until": revocation.until }).to_string()
}

fn parts(what: &Revoked) -> (&'static str, String) {
    match what {
        Revoked::Token(id) => ("token", id.to_string()),
        Revoked::Operator(name) => ("operator", name.clone()),
    }
}
