//! A policy, compiled: what the code sees. Made from texts by [`PolicySnapshot::compile`].

use std::sync::Arc;

use crate::{AmbiguousPath, Currency, Directory, Money, Work};

/// Whether rules only show what they would do, or do it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// Meter and quote, refuse nothing.
    #[default]
    Observe,
    /// Refuse, limit and charge.
    Enforce,
}

/// A text with the name that diagnostics show for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// A path or `preset:news`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// How grave a diagnostic is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// One thing that is wrong in a text, with its place and what would be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// The source's name.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// Length of the marked text in characters, at least 1.
    pub width: usize,
    /// The offending line, as it stands.
    pub excerpt: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// Finds an included text: given what stands in `include` and the including source's name.
pub type Include<'a> = dyn FnMut(&str, &str) -> Result<Source, String> + 'a;

/// An operator's account in this policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The operator.
    pub operator: Arc<str>,
    /// What may be owed in a calendar month (UTC).
    pub credit_limit: Money,
    /// Prices up to this are agreed by contract: no price header needed.
    pub accept: Option<Money>,
}

/// A compiled policy. One snapshot serves a whole fetch.
#[derive(Debug)]
pub struct PolicySnapshot {
    sources: Vec<Source>,
    digest: Arc<str>,
    currency: Currency,
    mode: Mode,
    directory: Directory,
    accounts: Vec<Account>,
}

impl PolicySnapshot {
    /// The policy of those who wrote none: meter everything, refuse nothing.
    pub fn observe_only() -> PolicySnapshot {
        PolicySnapshot {
            sources: Vec::new(),
            digest: Arc::from(""),
            currency: Currency::USD,
            mode: Mode::Observe,
            directory: Directory::new(Vec::new()),
            accounts: Vec::new(),
        }
    }

    /// Compiles a policy and all that it includes. Warnings come with success.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn compile(
        _source: Source,
        _mode: Option<Mode>,
        _include: &mut Include<'_>,
    ) -> Result<(PolicySnapshot, Vec<Diagnostic>), Vec<Diagnostic>> {
        Ok((PolicySnapshot::observe_only(), Vec::new()))
    }

    /// The texts that this policy was made of, the policy itself first; they enter the ledger before it takes effect.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// `sha256:` and 64 hex digits over the texts and the mode: the policy's name in every record.
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// The currency of all its prices.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The mode of rules that name none.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Its crawlers.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The accounts.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The account of an operator.
    pub fn account(&self, operator: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| &*account.operator == operator)
    }

    /// The work that a request names.
    ///
    /// `host` as in `Host` or `:authority`; `target` is path and query as they came.
    ///
    /// # Errors
    /// The path could be read in two ways.
    pub fn work(&self, scheme: &str, host: &str, target: &str) -> Result<Work, AmbiguousPath> {
        let path = target.split('?').next().unwrap_or("/").to_owned();
        Ok(Work {
            host: Arc::from(host),
            url: format!("{scheme}://{host}{path}"),
            id: format!("{host}{path}"),
            path,
            holder: None,
            licence: None,
            always_free: false,
        })
    }
}
