//! The published cases of AI Preferences and Content Signals, read from `testdata/vectors/aipref.json`: another file of that
//! form may take its place.

#[path = "support/vectors.rs"]
mod support;

use std::collections::BTreeMap;

use policy::protocol::aipref::{Category, Preference, Usage, UsageRules};
use policy::protocol::content_signal::ContentSignal;
use policy::protocol::robots::{RobotsTxt, Target};
use serde_json::Value;
use support::{both_files, judge, text};

fn letter(preference: Preference) -> &'static str {
    match preference {
        Preference::Allow => "y",
        Preference::Disallow => "n",
        Preference::Unknown => "?",
    }
}

/// What is said, by label; what is not said is left out.
fn said(usage: Usage) -> BTreeMap<&'static str, &'static str> {
    let all = Category::ALL.map(|category| (category.label(), letter(usage.about(category))));
    all.into_iter().filter(|(_, letter)| *letter != "?").collect()
}

/// What should be said, by label; `?` is the same as nothing.
fn object(value: &Value) -> BTreeMap<&str, &str> {
    let members = value.as_object().unwrap_or_else(|| panic!("an object, not {value}")).iter();
    let said = members.map(|(key, value)| (key.as_str(), value.as_str().expect("a text")));
    said.filter(|(key, value)| *value != "?" && *key != "note").collect()
}

#[test]
fn no_list_of_cases_is_left_out() {
    support::no_other_lists("aipref.json", &["dictionary", "robots", "content_signal", "combine"]);
}

/// Judges a list of the file, and of our own beside it.
fn judge_all(list: &str, keys: &[&str], case_differs: impl Fn(&Value) -> Option<String>) {
    for (name, file) in both_files("aipref.json") {
        judge(&format!("{name} {list}"), &file[list], keys, &case_differs);
    }
}

#[test]
fn statements() {
    judge_all("dictionary", &["input", "expect"], |case| {
        let usage = Usage::parse(text(case, "input")).unwrap_or_default();
        let expect = object(&case["expect"]);
        let short = Category::ALL.into_iter().zip(["t", "a", "s"]);
        let said: BTreeMap<&str, &str> = short
            .map(|(category, name)| (name, letter(usage.about(category))))
            .filter(|(_, letter)| *letter != "?")
            .collect();
        (said != expect).then(|| format!("`{usage}`, not {}", case["expect"]))
    });
}

#[test]
fn rules_in_robots_txt() {
    let vectors: Vec<Value> =
        both_files("aipref.json").into_iter().map(|(_, mut file)| file["robots"].take()).collect();
    // Each has one file, or several.
    let files = vectors.iter().flat_map(|robots| match robots {
        Value::Array(files) => files.iter().collect(),
        one => vec![one],
    });
    for file in files {
        assert_eq!(support::unknown_key(file, &["file", "cases"]), None);
        let robots = RobotsTxt::parse(text(file, "file").as_bytes());
        let keys = ["token", "path", "crawlable", "pref"];
        judge("robots", &file["cases"], &keys, |case| {
            let agent = robots.agent(text(case, "token"));
            let target = Target::new(text(case, "path"));
            let crawlable = agent.decide(&target).is_allowed;
            let usage = UsageRules::of(&agent).about(&target);
            // What may not be crawled has no preference, and is told from what nobody has said anything about.
            let pref = usage.map(said);
            let same = match (&case["pref"], &pref) {
                (Value::Null, pref) => pref.as_ref().is_none_or(BTreeMap::is_empty),
                (expect, Some(pref)) => object(expect) == *pref,
                (_, None) => false,
            };
            let is_right = same && case["crawlable"] == crawlable && crawlable == pref.is_some();
            (!is_right).then(|| format!("{crawlable}, {usage:?}, not {case}"))
        });
    }
}

#[test]
fn content_signals() {
    let keys = ["file", "token", "expect"];
    judge_all("content_signal", &keys, |case| {
        let robots = RobotsTxt::parse(text(case, "file").as_bytes());
        let signal = ContentSignal::of(&robots, &robots.agent(text(case, "token")));
        let shown = signal.to_string();
        let pairs = shown.split(", ").filter_map(|pair| pair.split_once('='));
        let got: BTreeMap<&str, &str> = pairs.collect();
        (got != object(&case["expect"])).then(|| format!("`{shown}`, not {}", case["expect"]))
    });
}

#[test]
fn combinations() {
    judge_all("combine", &["statements", "expect"], |case| {
        let statements = case["statements"].as_array().expect("`statements`").iter();
        let read = statements.map(|one| Usage::parse(one.as_str().expect("a text")).unwrap_or_default());
        let usage = Usage::combine(read);
        (said(usage) != object(&case["expect"])).then(|| format!("`{usage}`, not {}", case["expect"]))
    });
}
