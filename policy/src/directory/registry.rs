//! The built-in registry: `data/crawlers.toml`, read once for the process.

use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use crate::protocol::bot_auth::{HttpsUrl, KeySource};
use crate::{Class, CrawlerRow, Purpose, Verification};

static ROWS: LazyLock<Vec<Arc<CrawlerRow>>> = LazyLock::new(|| {
    let rows = parse(include_str!("../../data/crawlers.toml"));
    rows.expect("the built-in registry is part of the program, and its tests read it")
});

/// The rows, in the order of the file.
pub(super) fn rows() -> &'static [Arc<CrawlerRow>] {
    &ROWS
}

/// A row as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    token: String,
    operator: String,
    name: String,
    class: String,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    lists: Vec<String>,
    #[serde(default)]
    reverse_dns: Vec<String>,
    #[serde(default)]
    agents: Vec<String>,
    source: String,
    date: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    crawler: Vec<RawRow>,
}

fn parse(text: &str) -> Result<Vec<Arc<CrawlerRow>>, String> {
    let raw: RawRegistry = toml::from_str(text).map_err(|error| error.to_string())?;
    raw.crawler.into_iter().map(|raw| row(raw).map(Arc::new)).collect()
}

fn row(raw: RawRow) -> Result<CrawlerRow, String> {
    let RawRow { token, operator, name, class, purpose, lists, reverse_dns, agents, source, date } = raw;
    let class = Class::parse(&class).ok_or_else(|| format!("{token}: class {class:?} is unknown"))?;
    let purpose = match purpose {
        Some(word) => Purpose::parse(&word).ok_or_else(|| format!("{token}: purpose {word:?} is unknown"))?,
        None => Purpose::Unknown,
    };
    let agent = |url: &String| match HttpsUrl::parse(url) {
        Ok(url) => Ok(KeySource::at(url)),
        Err(error) => Err(format!("{token}: agent {url:?}: {error}")),
    };
    let agents = agents.iter().map(agent).collect::<Result<_, _>>()?;
    Ok(CrawlerRow {
        token: Arc::from(token),
        operator: Arc::from(operator),
        operator_name: Arc::from(name),
        class,
        purpose,
        verification: Verification { lists, ranges: Vec::new(), reverse_dns, agents },
        source: Arc::from(format!("{source} {date}")),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_row_is_complete_and_said_once() {
        let rows = parse(include_str!("../../data/crawlers.toml")).unwrap_or_else(|error| panic!("{error}"));
        let mut tokens = HashMap::new();
        let mut names: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for row in &rows {
            let token = &*row.token;
            if let Some(before) = tokens.insert(token.to_ascii_lowercase(), token) {
                panic!("{token} stands twice, as {before} too");
            }
            assert!(token.len() >= 4 && token.is_ascii() && token.trim() == token, "{token}");
            assert!(!token.contains('/'), "{token}: a version is not part of a token");
            let slug =
                row.operator.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(slug && !row.operator.is_empty() && !row.operator_name.is_empty(), "{token}");
            let name =
                names.entry(Arc::clone(&row.operator)).or_insert_with(|| Arc::clone(&row.operator_name));
            assert_eq!(*name, row.operator_name, "{token}: one operator, one name");
            let date = row.source.rsplit(' ').next().unwrap_or_default();
            let is_date = date.len() == 10
                && date
                    .bytes()
                    .enumerate()
                    .all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
            assert!(is_date && row.source.len() > 14, "{token}: {}", row.source);
            for list in &row.verification.lists {
                assert!(list.starts_with("https://") && !list.ends_with('/'), "{token}: {list}");
            }
            for suffix in &row.verification.reverse_dns {
                let lower = suffix
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
                assert!(lower && suffix.contains('.') && !suffix.starts_with('.'), "{token}: {suffix}");
            }
            let can_fetch = row.class != Class::ControlToken;
            assert!(can_fetch || row.verification.is_empty(), "{token} never fetches");
            assert!(
                row.class == Class::Ai || row.purpose == Purpose::Unknown,
                "{token}: purposes are of AI crawlers"
            );
        }
        // Sorted without case, so that additions find their place and a row is easy to find.
        assert!(rows.windows(2).all(|pair| {
            let key = |row: &CrawlerRow| (row.class != Class::Ai, row.token.to_ascii_lowercase());
            key(&pair[0]) < key(&pair[1])
        }));
    }

    #[test]
    fn names_that_anybody_can_rent_are_no_proof() {
        for row in rows() {
            for suffix in &row.verification.reverse_dns {
                let rented =
                    ["googleusercontent.com", "amazonaws.com", "compute.amazonaws.com", "cloudapp.azure.com"];
                assert!(!rented.contains(&&**suffix), "{}", row.token);
            }
        }
    }

    #[test]
    fn a_broken_registry_says_where() {
        let row = "[[crawler]]\ntoken = \"X-Bot\"\noperator = \"x\"\nname = \"X\"\nsource = \"s\"\ndate = \"2026-01-01\"\n";
        for (more, expect) in [
            ("class = \"ia\"\n", "class"),
            ("class = \"ai\"\npurpose = \"fun\"\n", "purpose"),
            ("class = \"ai\"\nranges = []\n", "ranges"),
            ("class = \"ai\"\nagents = [\"http://bot.example\"]\n", "https"),
        ] {
            let error = parse(&format!("{row}{more}")).expect_err(more);
            assert!(error.contains(expect), "{error}");
        }
    }
}
