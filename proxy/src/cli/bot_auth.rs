//! `byline bot-auth check`: what is wrong with the keys that an agent publishes, as every proxy would find out.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use http::header::CACHE_CONTROL;
use policy::protocol::bot_auth::{
    DirectorySignatureError, HttpsUrl, KeyDirectory, KeySource, Settings, SourceKind, WELL_KNOWN_PATH,
    is_private_part_published,
};
use policy::protocol::message_signature::{Algorithm, Field, Response};
use serde_json::Value;

use super::days;
use crate::error::chain;
use crate::evidence::document::{self, Reach};
use crate::evidence::key_directory::{self, AgentKeys};
use crate::evidence::reverse_dns;

/// A key that ends sooner than this is about to.
const ENDS_SOON_SECS: i64 = 7 * 24 * 3600;

/// Arguments of `byline bot-auth`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Fetch an agent's key directory and say what would keep its signatures from being verified: 0 nothing, 1 something.
    Check {
        /// What the agent writes into Signature-Agent: `https://bot.example`, or the URL of its keys.
        #[arg(value_name = "URL")]
        url: String,
        /// The URL is that of a client document (`;type=cimd`), which has or names the keys.
        #[arg(long)]
        client_document: bool,
        /// The keys may be on a private network, where proxies on the internet would not go.
        #[arg(long)]
        private: bool,
    },
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Check { url, client_document, private } = args.command;
    let url = match HttpsUrl::parse(&url) {
        Ok(url) => url,
        Err(error) => {
            eprintln!("byline bot-auth check: {url}: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    let source = if client_document { KeySource::client_document(url) } else { KeySource::at(url) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let settings = Settings::default();
    let fetched = fetch(&source, private, &settings)?;
    let mut report = Report::default();
    println!("{}", source.url.as_str());
    match &fetched {
        Ok(keys) => look_at(&mut report, &source, keys, now, &settings),
        Err(error) => report.problem(chain(error)),
    }
    match report.problems {
        0 => println!("signatures of this agent can be verified"),
        1 => println!("1 problem"),
        many => println!("{many} problems"),
    }
    Ok(if report.problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fetch(
    source: &KeySource,
    private: bool,
    settings: &Settings,
) -> anyhow::Result<Result<AgentKeys, key_directory::KeysError>> {
    let tls = document::tls(None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let resolver = reverse_dns::resolver(None).context("no name server to ask")?;
        let reach = if private { Reach::Anywhere } else { Reach::public(&resolver) };
        Ok(key_directory::fetch(source, &tls, reach, settings).await)
    })
}

#[derive(Default)]
struct Report {
    problems: usize,
}

impl Report {
    fn problem(&mut self, what: String) {
        self.problems += 1;
        println!("  problem: {what}");
    }

    fn note(&mut self, what: String) {
        println!("  note: {what}");
    }
}

fn look_at(report: &mut Report, source: &KeySource, keys: &AgentKeys, now: i64, settings: &Settings) {
    let AgentKeys { directory, document } = keys;
    for (number, known) in directory.keys().iter().enumerate() {
        let thumbprint = known.key.thumbprint();
        println!("  key {}: {thumbprint} ({})", number + 1, known.key.algorithm().as_str());
        if is_private_part_published(thumbprint) {
            report.problem(format!("{thumbprint} is an example of an RFC: everybody has its private part"));
        }
        match (known.not_before, known.not_after) {
            (Some(from), _) if now < from => {
                report.problem(format!("{thumbprint} is valid only in {}", days(from - now)));
            }
            (_, Some(until)) if now >= until => {
                report.problem(format!("{thumbprint} has expired {} ago", days(now - until)));
            }
            (_, Some(until)) if until - now < ENDS_SOON_SECS => {
                report.note(format!("{thumbprint} expires in {}", days(until - now)));
            }
            _ => {}
        }
        if known.key.algorithm().as_str() != "ed25519" {
            report.note(format!("{thumbprint}: some verifiers know ed25519 only"));
        }
    }
    look_at_document(report, keys, settings);
    for refused in directory.refused() {
        report.problem(format!("key {} of the set cannot be used: {}", refused.index + 1, refused.why));
    }
    match signers(source, keys, now, settings) {
        Ok(signers) => println!("  signed by {}", signers.join(", ")),
        Err(DirectorySignatureError::Unsigned) if directory.source().kind != SourceKind::Directory => {}
        Err(DirectorySignatureError::Unsigned) => {
            report.note("it is not signed: a copy of it elsewhere would prove nothing".to_owned());
        }
        Err(error) => match signers(source, keys, now, &in_older_form(settings)) {
            Ok(_) => report.problem(
                "it is signed in an older form, without content-digest: the signature is not about the keys"
                    .to_owned(),
            ),
            Err(_) => report.problem(error.to_string()),
        },
    }
    if !document.headers.contains_key(CACHE_CONTROL) {
        report.note("without Cache-Control, everybody guesses how soon a new key is seen".to_owned());
    }
    if source.kind == SourceKind::KeySet {
        report.note(format!("verifiers of the older drafts look for keys at {WELL_KNOWN_PATH} only"));
    }
}

/// What the document says beside its keys, in ways that only some verifiers understand.
fn look_at_document(report: &mut Report, keys: &AgentKeys, settings: &Settings) {
    let Ok(document) = serde_json::from_slice::<Value>(&keys.document.body) else { return };
    let is_directory = keys.directory.source().kind == SourceKind::Directory;
    // A client document may have the set within.
    let set = document.get("jwks").unwrap_or(&document);
    let Some(keys) = set.get("keys").and_then(Value::as_array) else {
        if settings.bare_keys {
            report.problem(
                "it is one key where a set belongs, {\"keys\":[…]}: most verifiers find none in it"
                    .to_owned(),
            );
        }
        return;
    };
    for (number, key) in keys.iter().enumerate() {
        let number = number + 1;
        let alg = key.get("alg").and_then(Value::as_str).unwrap_or_default();
        if Algorithm::parse(alg).is_some() {
            report.note(format!(
                "key {number}: alg {alg:?} is a name for signatures; in a key it is \"EdDSA\", \"ES256\" or \"PS512\", or left out"
            ));
        }
        if is_directory && key.get("kid").is_none() {
            report.note(format!(
                "key {number}: some verifiers look for its thumbprint in \"kid\", which is not there"
            ));
        }
    }
}

/// The form that directories' signatures had before they covered the keys.
fn in_older_form(settings: &Settings) -> Settings {
    Settings { directory_without_digest: true, ..settings.clone() }
}

fn signers(
    source: &KeySource,
    keys: &AgentKeys,
    now: i64,
    settings: &Settings,
) -> Result<Vec<String>, DirectorySignatureError> {
    let directory: &KeyDirectory = &keys.directory;
    let headers = &keys.document.headers;
    let fields: Vec<Field<'_>> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let response = Response { status: 200, fields: &fields, trailers: &[], request: None };
    directory.signed_by(source.url.authority(), &response, &keys.document.body, now, settings)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName};
    use policy::protocol::bot_auth::{DIRECTORY_MEDIA_TYPE, DIRECTORY_TAG, Fetched, directory_body};
    use policy::protocol::message_signature::{Component, Message, Parameters, Request, SigningKey};

    use super::*;
    use crate::evidence::document::Document;

    #[test]
    fn a_signature_of_the_older_form_is_told_from_one_that_does_not_hold() {
        let key = SigningKey::from_seed(&[1; 32]).expect("a key");
        let source = KeySource::at(HttpsUrl::parse("https://bot.example").expect("a URL"));
        let body = directory_body(&[key.public_key()]);
        let parameters = Parameters {
            created: Some(1_800_000_000),
            expires: Some(1_800_000_060),
            keyid: Some(key.public_key().thumbprint().to_owned()),
            tag: Some(DIRECTORY_TAG.to_owned()),
            ..Parameters::default()
        };
        let asked = Request {
            method: "GET",
            scheme: "https",
            authority: "bot.example",
            target: WELL_KNOWN_PATH,
            fields: &[],
            trailers: &[],
        };
        let response = Response { status: 200, fields: &[], trailers: &[], request: Some(&asked) };
        let covered = [Component::parse("\"@authority\";req").expect("a component")];
        let signed =
            key.sign("sig1", &covered, &parameters, Message::Response(&response)).expect("a signature");
        let mut headers = HeaderMap::new();
        for (name, value) in [("signature-input", signed.input), ("signature", signed.signature)] {
            headers.insert(HeaderName::from_static(name), value.parse().expect("a value"));
        }
        let settings = Settings::default();
        let fetched =
            Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() };
        let directory = KeyDirectory::read(&source, fetched, &settings).expect("a directory");
        let keys = AgentKeys { directory, document: Document { headers, body: Bytes::from(body) } };
        let ask = |now, settings: &Settings| signers(&source, &keys, now, settings);
        assert_eq!(ask(1_800_000_030, &settings), Err(DirectorySignatureError::NoneHolds));
        assert_eq!(ask(1_800_000_030, &in_older_form(&settings)).map(|signers| signers.len()), Ok(1));
        assert!(ask(1_800_001_000, &in_older_form(&settings)).is_err(), "it has expired");
    }
}
