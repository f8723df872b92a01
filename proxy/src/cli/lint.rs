//! `byline lint`: what a site publishes, beside what its policy does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use policy::lint::{Finding, LicenseText, Report, ResponseText, Row, Text, Texts, lint};
use policy::protocol::robots::RobotsTxt;
use policy::protocol::rsl::discovery;
use policy::protocol::tdmrep;
use policy::publish::{LICENSE_PATH, Origin};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use super::check::Format;
use super::explain::{load, split_url};
use super::publish::origin_of;
use crate::error::chain;
use crate::evidence::document::{self, Document, DocumentError, Reach, Terms};

/// Bytes of a document that are read; robots.txt and RSL have lower limits of their own.
const BYTES_MAX: usize = 2 << 20;
/// The time of one document.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Licence documents that are fetched.
const LICENSES_MAX: usize = 8;
/// Paths of one row that are shown to people.
const PATHS_SHOWN: usize = 3;

/// Arguments of `byline lint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A page of a site, as in https://example.com/articles/1; or files: robots.txt, license.xml, tdmrep.json, pages, metadata
    /// (.opf of an EPUB, .xmp of a PDF).
    #[arg(required = true, value_name = "URL|FILE")]
    what: Vec<String>,
    /// The policy; without one ./policy.toml if it is there.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The site that files are of.
    #[arg(long)]
    host: Option<String>,
    /// Where the site has the page, or the work that metadata are of: /books/novel.epub. Metadata need it, for the file is
    /// part of the work.
    #[arg(long)]
    path: Option<String>,
    /// How to answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(policy) = load(args.policy.as_deref(), None)? else {
        return Ok(ExitCode::from(super::INVALID_CONFIGURATION));
    };
    let wrong = |why: &str| {
        eprintln!("byline lint: {why}");
        Ok(ExitCode::from(2))
    };
    let urls: Vec<&String> = args.what.iter().filter(|what| what.contains("://")).collect();
    let (origin, texts) = match (&urls[..], args.what.len()) {
        ([url], 1) => {
            let (scheme, host, target) = match split_url(url) {
                Ok(parts) => parts,
                Err(error) => return wrong(&error.to_string()),
            };
            let Some(origin) = Origin::new(scheme == "https", host) else {
                return wrong("the URL names no host");
            };
            let texts = fetch(&origin, target)?;
            (origin, texts)
        }
        ([], _) => {
            let Some(origin) = origin_of(args.host.as_deref().unwrap_or("localhost")) else {
                return wrong("--host is not a host");
            };
            if args.host.is_none() {
                eprintln!("byline lint: without --host, rules that name hosts are not asked");
            }
            if let Some(file) =
                args.what.iter().find(|file| is_metadata(file)).filter(|_| args.path.is_none())
            {
                return wrong(&format!("where is the work that {file} is of? say --path /books/novel.epub"));
            }
            if args.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
                return wrong("--path begins with a slash");
            }
            let texts = read(&args.what, &origin, args.path.as_deref())?;
            (origin, texts)
        }
        _ => return wrong("give one URL, or files"),
    };
    let report = lint(&policy, &origin, &texts);
    match args.format {
        Format::Text => print!("{}", in_words(&origin, &report)),
        Format::Json => println!("{:#}", in_json(&origin, &report)),
    }
    Ok(if report.contradictions().next().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether a file is what a work says of itself, inside of it.
fn is_metadata(file: &str) -> bool {
    file.ends_with(".opf") || file.ends_with(".xmp")
}

fn read(files: &[String], origin: &Origin, at: Option<&str>) -> anyhow::Result<Texts> {
    let mut texts = Texts::default();
    for name in files {
        let path = Path::new(name);
        let bytes = std::fs::metadata(path).map(|metadata| metadata.len());
        let bytes = bytes.with_context(|| format!("{name} cannot be read"))?;
        anyhow::ensure!(bytes <= BYTES_MAX as u64, "{name} has more than 2 MiB");
        let bytes = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
        let text = Text { name: name.clone(), bytes };
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        let target = at.map_or_else(|| format!("/{file}"), str::to_owned);
        let begins = |with: &[u8]| text.bytes.trim_ascii_start().starts_with(with);
        if is_metadata(file) {
            // Metadata of one work, which come before everything that is said of it elsewhere.
            let metadata = String::from_utf8_lossy(&text.bytes);
            let (declared, media_type) = match file.ends_with(".opf") {
                true => (tdmrep::Declaration::from_epub(&metadata), "application/epub+zip"),
                false => (tdmrep::Declaration::from_xmp(&metadata), "application/pdf"),
            };
            let declared = declared.with_context(|| format!("{name} is no metadata"))?;
            let field = |(name, value): (&str, &str)| (name.to_owned(), value.as_bytes().to_vec());
            let fields = declared.pairs().chain([("content-type", media_type)]).map(field).collect();
            texts.responses.push(ResponseText { name: text.name, target, fields, html: None });
        } else if file.ends_with(".txt") {
            texts.robots = Some(text);
        } else if file.ends_with(".json") || begins(b"[") {
            texts.tdmrep = Some(text);
        } else if file.ends_with(".xml") || begins(b"<?xml") || begins(b"<rsl") {
            texts.licenses.push(LicenseText { url: Some(origin.url(&format!("/{file}"))), text });
        } else if file.ends_with(".html") || begins(b"<!") || begins(b"<html") {
            let html = String::from_utf8_lossy(&text.bytes).into_owned();
            let fields = vec![("content-type".to_owned(), b"text/html".to_vec())];
            texts.responses.push(ResponseText { name: text.name, target, fields, html: Some(html) });
        } else {
            texts.robots = Some(text);
        }
    }
    Ok(texts)
}

/// Everything that a site publishes, as a crawler would find it.
fn fetch(origin: &Origin, target: &str) -> anyhow::Result<Texts> {
    let tls = document::tls(None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let get = Fetcher { origin, tls };
        let mut texts = Texts::default();
        let page = get.document(&origin.url(target)).await?;
        texts.robots = get.text(&origin.url("/robots.txt")).await?;
        texts.tdmrep = get.text(&origin.url(tdmrep::FILE_PATH)).await?;
        let mut urls = vec![origin.url(LICENSE_PATH)];
        if let Some(robots) = &texts.robots {
            let robots = RobotsTxt::parse(&robots.bytes);
            urls.extend(robots.all("license").map(|line| line.text().into_owned()));
        }
        if let Some(page) = &page {
            let links = page.headers.get_all("link").iter().map(|value| value.as_bytes());
            urls.extend(discovery::in_link_headers(links));
        }
        urls.sort();
        urls.dedup();
        for url in urls.into_iter().filter(|url| get.is_own(url)).take(LICENSES_MAX) {
            if let Some(text) = get.text(&url).await? {
                texts.licenses.push(LicenseText { url: Some(url), text });
            }
        }
        texts.responses.extend(page.map(|page| response(origin, target, page)));
        Ok(texts)
    })
}

fn response(origin: &Origin, target: &str, page: Document) -> ResponseText {
    let fields =
        page.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let content_type = page.headers.get("content-type").and_then(|value| value.to_str().ok());
    let is_html = content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    ResponseText {
        name: origin.url(target),
        target: target.to_owned(),
        fields: fields.collect(),
        html: is_html.then(|| String::from_utf8_lossy(&page.body).into_owned()),
    }
}

struct Fetcher<'a> {
    origin: &'a Origin,
    tls: TlsConnector,
}

impl Fetcher<'_> {
    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.origin.url("")).is_some_and(|rest| rest.starts_with('/'))
    }

    async fn text(&self, url: &str) -> anyhow::Result<Option<Text>> {
        let document = self.document(url).await?;
        Ok(document.map(|document| Text { name: url.to_owned(), bytes: document.body.to_vec() }))
    }

    /// A document; `None` if there is none, or none that we could read.
    async fn document(&self, url: &str) -> anyhow::Result<Option<Document>> {
        let terms =
            Terms { time: TIME_MAX, bytes: BYTES_MAX, redirects: 5, accept: "*/*", reach: Reach::Anywhere };
        match document::fetch(url, &self.tls, &terms).await {
            Ok(document) => Ok(Some(document)),
            Err(DocumentError::Status(status)) if status.is_client_error() => Ok(None),
            Err(error) => anyhow::bail!("{url}: {}", chain(&error)),
        }
    }
}

/// What is said to some crawlers, and the paths about which it is.
type Alike<'r> = BTreeMap<(String, String, String), (&'r Row, Vec<&'r str>)>;

fn in_words(origin: &Origin, report: &Report) -> String {
    let mut out = format!("{}\n", origin.url("/"));
    let mut alike: Alike<'_> = BTreeMap::new();
    for row in &report.rows {
        let says: Vec<String> =
            row.says.iter().map(|(signal, says)| format!("{} {says}", signal.as_str())).collect();
        let key = (row.crawlers.join(" "), row.enforced.clone(), says.join(", "));
        alike.entry(key).or_insert_with(|| (row, Vec::new())).1.push(&row.path);
    }
    let mut last = String::new();
    for ((crawlers, enforced, says), (row, paths)) in &alike {
        if *crawlers != last {
            let purpose = row.purpose.map_or("control token", |purpose| purpose.as_str());
            let more = row.crawlers.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            out.push_str(&format!("\n{}{more} ({purpose})\n", row.crawlers[0]));
            last.clone_from(crawlers);
        }
        let shown = paths.iter().take(PATHS_SHOWN).copied().collect::<Vec<_>>().join(" ");
        let others = paths.len().saturating_sub(PATHS_SHOWN);
        let others = if others == 0 { String::new() } else { format!(" and {others} more") };
        let says = if says.is_empty() { "nothing" } else { says };
        out.push_str(&format!("  {shown}{others}\n    says: {says}\n    does: {enforced}\n"));
    }
    out.push('\n');
    for finding in &report.findings {
        let kind = if finding.kind.is_contradiction() { "contradiction" } else { "note" };
        let Finding { place, who, path, says, enforced, others, .. } = finding;
        let others = if *others == 0 { String::new() } else { format!(" (and {others} more)") };
        let enforced = if enforced.is_empty() { String::new() } else { format!("; in fact: {enforced}") };
        out.push_str(&format!(
            "{kind} [{} {}] {place}: {who}: {path}{others}: {says}{enforced}\n",
            finding.signal.as_str(),
            finding.kind.as_str(),
        ));
    }
    if report.is_cut {
        out.push_str("there are more findings than are shown\n");
    }
    match report.contradictions().count() {
        0 => out.push_str("no contradiction\n"),
        1 => out.push_str("1 contradiction\n"),
        many => out.push_str(&format!("{many} contradictions\n")),
    }
    out
}

fn in_json(origin: &Origin, report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "kind": finding.kind.as_str(),
            "contradiction": finding.kind.is_contradiction(),
            "signal": finding.signal.as_str(),
            "place": finding.place,
            "who": finding.who,
            "path": finding.path,
            "says": finding.says,
            "enforced": finding.enforced,
            "others": finding.others,
        })
    };
    let row = |row: &Row| {
        let says: serde_json::Map<String, Value> =
            row.says.iter().map(|(signal, says)| (signal.as_str().to_owned(), json!(says))).collect();
        json!({
            "crawlers": row.crawlers,
            "purpose": row.purpose.map(|purpose| purpose.as_str()),
            "path": row.path,
            "enforced": row.enforced,
            "rule": row.rule,
            "says": says,
        })
    };
    json!({
        "site": origin.url("/"),
        "contradictions": report.contradictions().count(),
        "cut": report.is_cut,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
    })
}
