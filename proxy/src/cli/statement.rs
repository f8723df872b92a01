//! `byline statement`: what each operator owes and each holder is owed, for a period.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use billing::books::Books;
use billing::statement::{Period, Query, Statement};

/// Exit code of wrong usage, as clap's own.
const WRONG_USAGE: u8 = 2;

/// Arguments of `byline statement`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The state directory of `byline serve`: its ledger is read, its books are brought up to date.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// 2026, 2026-11, 2026-W47, 2026-11-22, or FROM..TO with dates or RFC 3339 times; the end is outside.
    #[arg(long)]
    period: String,
    /// Only what this operator fetched.
    #[arg(long, value_name = "ID")]
    operator: Option<String>,
    /// Only fetches of this holder's works.
    #[arg(long, value_name = "ID")]
    holder: Option<String>,
    /// One line for each work.
    #[arg(long, value_enum, value_name = "WHAT")]
    by: Option<By>,
    /// Where midnight is: a zone of the IANA database.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// Which currency, if the period has several.
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What lines are split by.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum By {
    /// A line for each work.
    Work,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For a terminal.
    Table,
    /// One JSON object.
    Json,
    /// One row for each line, for a spreadsheet.
    Csv,
    /// One printable page.
    Html,
}

/// Draws it up; a finding makes the exit code 1, after the statement is printed.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let period = match Period::parse(&args.period, &args.time_zone) {
        Ok(period) => period,
        Err(error) => {
            eprintln!("byline: {error}");
            return Ok(ExitCode::from(WRONG_USAGE));
        }
    };
    let books = Books::open(&args.state)
        .with_context(|| format!("no statement can be drawn up from {}", args.state.display()))?;
    let query = Query {
        period,
        operator: args.operator,
        holder: args.holder,
        by_work: matches!(args.by, Some(By::Work)),
        currency: args.currency,
    };
    let statement = Statement::draw_up(&books, query)?;
    let text = match args.format {
        Format::Table => statement.to_table(),
        Format::Json => format!("{:#}\n", statement.to_json()),
        Format::Csv => statement.to_csv(),
        Format::Html => statement.to_html(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    if statement.findings_count > 0 {
        eprintln!(
            "byline: {} ledger entries do not agree with their own facts; nothing was corrected",
            statement.findings_count
        );
        for finding in &statement.findings {
            eprintln!("byline: entry {}: {}", finding.entry, finding.what);
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
