//! `byline check`: check configuration and policy files: every problem at once, with its place.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::{Diagnostic, Severity, Source, render};
use serde_json::{Value, json};

use crate::config::{self, Overrides};
use crate::licence::clients::Clients;
use crate::policy_file;

/// Arguments of `byline check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policies, configurations (with the file of clients that one names), files of clients; without any, ./policy.toml and ./byline.toml, if they are there.
    files: Vec<PathBuf>,
    /// How to answer: words on stderr, or JSON on stdout.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How a command prints its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// What was found in one file.
struct Checked {
    file: String,
    kind: &'static str,
    /// A word on a file that is in order.
    summary: String,
    diagnostics: Vec<Diagnostic>,
}

impl Checked {
    fn is_valid(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error)
    }
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut files = args.files;
    if files.is_empty() {
        files = ["policy.toml", "byline.toml"]
            .map(PathBuf::from)
            .into_iter()
            .filter(|path| path.exists())
            .collect();
    }
    if files.is_empty() {
        eprintln!("byline check: there is neither policy.toml nor byline.toml here; name the files to check");
        return Ok(ExitCode::from(2));
    }
    let mut checked: Vec<Checked> = Vec::new();
    for path in &files {
        let (of_file, clients) = check_file(path);
        checked.push(of_file);
        // What a start reads as well.
        checked.extend(clients.filter(|path| !files.contains(path)).map(|path| check(&path, check_clients)));
    }
    match args.format {
        Format::Text => print_text(&checked),
        Format::Json => println!("{:#}", to_json(&checked)),
    }
    let all_valid = checked.iter().all(Checked::is_valid);
    Ok(if all_valid { ExitCode::SUCCESS } else { ExitCode::from(super::INVALID_CONFIGURATION) })
}

/// What is found in a text: what it is, a word on it if it is in order, and what is wrong.
type Found = (&'static str, String, Vec<Diagnostic>);

/// Checks a file, and says which file of clients it names.
fn check_file(path: &Path) -> (Checked, Option<PathBuf>) {
    let mut clients = None;
    let checked = check(path, |source| {
        if is_configuration(path, &source.text) {
            let (named, diagnostics) = match config::compile(source, &Overrides::default()) {
                Ok(config) => (config.licence.clients, Vec::new()),
                Err(diagnostics) => (None, diagnostics),
            };
            clients = named;
            return ("configuration", "a configuration".to_owned(), diagnostics);
        }
        if has_key(&source.text, &["client"]) { check_clients(source) } else { check_policy(source) }
    });
    (checked, clients)
}

fn check(path: &Path, find: impl FnOnce(Source) -> Found) -> Checked {
    let file = path.display().to_string();
    let (kind, summary, diagnostics) = policy_file::read(path).map_or_else(
        |error| {
            let nowhere = Source { name: file.clone(), text: String::new() };
            let why = format!("the file cannot be read: {error}");
            ("unknown", String::new(), vec![Diagnostic::error(&nowhere, 0..0, why)])
        },
        find,
    );
    Checked { file, kind, summary, diagnostics }
}

fn check_clients(source: Source) -> Found {
    match Clients::parse(source) {
        Ok(clients) => {
            let count = clients.len();
            let summary =
                format!("{count} client{} of the licence server", if count == 1 { "" } else { "s" });
            ("clients", summary, Vec::new())
        }
        Err(diagnostics) => ("clients", String::new(), diagnostics),
    }
}

fn check_policy(source: Source) -> Found {
    match policy_file::compile(source, None) {
        Ok((snapshot, diagnostics)) => {
            let rules = snapshot.rule_names().count().saturating_sub(2);
            let summary = format!(
                "a policy of {rules} rule{}, mode {}, {}",
                if rules == 1 { "" } else { "s" },
                snapshot.mode().as_str(),
                snapshot.digest()
            );
            ("policy", summary, diagnostics)
        }
        Err(diagnostics) => ("policy", String::new(), diagnostics),
    }
}

/// A file named `byline.toml`, or one with a key that only configurations have. Everything else is a policy.
fn is_configuration(path: &Path, text: &str) -> bool {
    if path.file_name().is_some_and(|name| name == "byline.toml") {
        return true;
    }
    const KEYS: [&str; 8] =
        ["listen", "listener", "upstream", "serve", "state", "admin", "ledger", "timeouts"];
    has_key(text, &KEYS)
}

/// Whether a file has one of these keys at its top.
fn has_key(text: &str, keys: &[&str]) -> bool {
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    table.get_ref().keys().any(|key| keys.contains(&key.get_ref().as_ref()))
}

fn print_text(checked: &[Checked]) {
    for file in checked {
        if !file.diagnostics.is_empty() {
            eprintln!("{}", render(&file.diagnostics));
        }
        let errors = file.diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
        match errors {
            0 => eprintln!("{}: in order: {}", file.file, file.summary),
            1 => eprintln!("{}: 1 error", file.file),
            _ => eprintln!("{}: {errors} errors", file.file),
        }
    }
}

fn to_json(checked: &[Checked]) -> Value {
    let files: Vec<Value> = checked
        .iter()
        .map(|file| json!({"file": file.file, "kind": file.kind, "valid": file.is_valid(), "summary": file.summary}))
        .collect();
    let diagnostics: Vec<Value> = checked
        .iter()
        .flat_map(|file| &file.diagnostics)
        .map(|one| {
            json!({
                "severity": one.severity.as_str(),
                "file": one.file,
                "line": one.line,
                "column": one.column,
                "width": one.width,
                "excerpt": one.excerpt,
                "message": one.message,
                "help": one.help,
            })
        })
        .collect();
    json!({"valid": checked.iter().all(Checked::is_valid), "files": files, "diagnostics": diagnostics})
}
