//! `byline check`: check configuration and policy files: every problem at once, with its place.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::{Diagnostic, Severity, Source, render};
use serde_json::{Value, json};

use crate::config::{self, Overrides};
use crate::policy_file;

/// Arguments of `byline check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policies and configurations; without any, ./policy.toml and ./byline.toml, if they are there.
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
    let checked: Vec<Checked> = files.iter().map(|path| check_file(path)).collect();
    match args.format {
        Format::Text => print_text(&checked),
        Format::Json => println!("{:#}", to_json(&checked)),
    }
    let all_valid = checked.iter().all(Checked::is_valid);
    Ok(if all_valid { ExitCode::SUCCESS } else { ExitCode::from(super::INVALID_CONFIGURATION) })
}

fn check_file(path: &Path) -> Checked {
    let file = path.display().to_string();
    let source = match policy_file::read(path) {
        Ok(source) => source,
        Err(error) => {
            let nowhere = Source { name: file.clone(), text: String::new() };
            let diagnostics =
                vec![Diagnostic::error(&nowhere, 0..0, format!("the file cannot be read: {error}"))];
            return Checked { file, kind: "unknown", summary: String::new(), diagnostics };
        }
    };
    if is_configuration(path, &source.text) {
        let diagnostics = config::compile(source, &Overrides::default()).err().unwrap_or_default();
        return Checked { file, kind: "configuration", summary: "a configuration".to_owned(), diagnostics };
    }
    match policy_file::compile(source, None) {
        Ok((snapshot, diagnostics)) => {
            let rules = snapshot.rule_names().count().saturating_sub(2);
            let summary = format!(
                "a policy of {rules} rule{}, mode {}, {}",
                if rules == 1 { "" } else { "s" },
                snapshot.mode().as_str(),
                snapshot.digest()
            );
            Checked { file, kind: "policy", summary, diagnostics }
        }
        Err(diagnostics) => Checked { file, kind: "policy", summary: String::new(), diagnostics },
    }
}

/// A file named `byline.toml`, or one with a key that only configurations have. Everything else is a policy.
fn is_configuration(path: &Path, text: &str) -> bool {
    if path.file_name().is_some_and(|name| name == "byline.toml") {
        return true;
    }
    const KEYS: [&str; 8] =
        ["listen", "listener", "upstream", "serve", "state", "admin", "ledger", "timeouts"];
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    table.get_ref().keys().any(|key| KEYS.contains(&key.get_ref().as_ref()))
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
