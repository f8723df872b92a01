//! A crawler that signs with a library of somebody else's, its key directory, and a shop that knows it: what the tests of signed
//! requests share.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::{self, POLICY, identity_table, loopback_identity};
use crate::oracle::{Language, Oracle};
use crate::tls::Authority;
use crate::wait::{PATIENCE, until_true};
use crate::{Byline, Origin, configured, get};

/// The crawler's user agent.
pub const AGENT: &str = "Mozilla/5.0 (compatible; SignBot/1.0)";
/// What it covers beside its agent: what money needs.
pub const WHAT: [&str; 3] = ["@authority", "@method", "@path"];

/// A crawler written with a library of somebody else's, its key directory, a shop that knows it, and an origin.
pub struct Market {
    /// The crawler: takes orders.
    pub crawler: Oracle,
    /// Where its keys are.
    pub agent: String,
    /// The shop.
    pub byline: Byline,
    /// The site behind it.
    pub origin: Origin,
    _files: TempDir,
}

/// A process that trusts this authority and lets keys be in these networks.
pub fn before(origin: &Origin, authority: &Authority, networks: &[&str], policy: String) -> Byline {
    let text = config::site(&origin.url(), &format!("{POLICY}{}", identity_table(networks)));
    loopback_identity(configured(text))
        .file("roots.pem", authority.pem())
        .env("SSL_CERT_FILE", "{dir}/roots.pem")
        .policy(policy)
        .start()
}

/// Waits until the keys of an agent are at hand.
pub fn wait_for_keys(byline: &Byline, agent: &str) {
    until_true("the crawler's keys", PATIENCE, || {
        byline.metrics().iter().any(|(series, age)| {
            series.starts_with("byline_agent_keys_age_seconds") && series.contains(agent) && !age.is_nan()
        })
    });
}

impl Market {
    /// Opens it; the policy is told where the crawler's keys are.
    pub fn open(language: Language, origin: Origin, policy: impl Fn(&str) -> String) -> Market {
        let (files, authority) = (tempfile::tempdir().expect("a temporary directory"), Authority::new());
        let identity = authority.issue(&["127.0.0.1"]);
        let [chain, key] = ["chain.pem", "key.pem"].map(|name| files.path().join(name));
        std::fs::write(&chain, &identity.chain_pem).expect("a temporary file");
        std::fs::write(&key, &identity.key_pem).expect("a temporary file");
        let script = if language == Language::Python { "crawler.py" } else { "crawler.mjs" };
        let mut crawler = Oracle::start(language, script, &[&chain, &key]);
        let agent = crawler.hear()["directory"].as_str().expect("a URL").to_owned();
        let byline = before(&origin, &authority, &["127.0.0.0/8"], policy(&agent));
        wait_for_keys(&byline, &agent);
        Market { crawler, agent, byline, origin, _files: files }
    }

    /// Has the crawler do something for `/paid/NAME`; `change` may ask for more.
    pub fn order(&mut self, what: &str, name: &str, change: Value) -> Value {
        let mut order = json!({
            "do": what,
            "url": format!("http://site.test/paid/{name}"),
            "connect": self.byline.listen.to_string(),
            "headers": [["User-Agent", AGENT]],
            "components": WHAT,
        });
        for (key, value) in change.as_object().expect("an object") {
            order[key] = value.clone();
        }
        let done = self.crawler.ask(&order);
        assert!(done.get("error").is_none(), "{done}");
        done
    }

    /// The fields of a signed request, as lines.
    pub fn signed(&mut self, name: &str, order: Value) -> String {
        let signed = self.order("sign", name, order);
        let line = |field: &Value| {
            format!("{}: {}\r\n", field[0].as_str().expect("a name"), field[1].as_str().expect("a value"))
        };
        signed["headers"].as_array().expect("fields").iter().map(line).collect()
    }

    /// A signed request for `/paid/NAME` as bytes, with an offer that it covers unless `change` says otherwise.
    pub fn request(&mut self, name: &str, change: Value) -> String {
        let mut order = json!({
            "headers": [["User-Agent", AGENT], ["crawler-max-price", "USD 0.05"]],
            "components": ["@authority", "@method", "@path", "crawler-max-price"],
        });
        for (key, value) in change.as_object().expect("an object") {
            order[key] = value.clone();
        }
        let lines = self.signed(name, order);
        get(&format!("/paid/{name}"), &lines)
    }

    /// How many fetches were charged for and what is owed for them, in nano-units: by the records and by the statement.
    pub fn sold(&self) -> (usize, i128) {
        let records = self.byline.records();
        let amount = |record: &Value| record["amount_nano"].as_str()?.parse::<i128>().ok();
        let amounts: Vec<i128> = records.iter().filter_map(amount).filter(|nano| *nano > 0).collect();
        let statement = self.byline.statement(&["--operator", "sign-labs"]);
        let total = statement["total"].as_str().expect("a decimal").to_owned();
        let (whole, part) = total.split_once('.').unwrap_or((&total, ""));
        let total: i128 = format!("{whole}{part:0<9}").parse().expect("a decimal");
        assert_eq!(amounts.iter().sum::<i128>(), total, "{statement}");
        (amounts.len(), total)
    }
}
