//! The published cases of AI Preferences and Content Signals, read from `testdata/vectors/aipref.json`: another file of that
//! form may take its place.

#[path = "support/vectors.rs"]
mod support;

use std::collections::BTreeMap;

use policy::protocol::aipref::{Category, Preference, Usage, UsageRules};
use policy::protocol::content_signal::ContentSignal;
use policy::protocol::robots::{RobotsTxt, Target};
use serde_json::Value;
use support::{judge, text, vectors};

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

fn object(value: &Value) -> BTreeMap<&str, &str> {
    let members = value.as_object().unwrap_or_else(|| panic!("an object, not {value}"));
    members.iter().map(|(key, value)| (key.as_str(), value.as_str().expect("a text"))).collect()
}

#[test]
fn statements() {
    judge("dictionary", &vectors("aipref.json")["dictionary"], |case| {
        let usage = Usage::parse(text(case, "input")).unwrap_or_default();
        let expect = &case["expect"];
        let differs = |(key, category): &(&str, Category)| expect[key] != letter(usage.about(*category));
        let names = [("t", Category::TrainAi), ("a", Category::AiUse), ("s", Category::Search)];
        names.iter().find(|name| differs(name)).map(|(key, _)| format!("`{key}`: `{usage}`, not {expect}"))
    });
}

#[test]
fn rules_in_robots_txt() {
    let vectors = vectors("aipref.json");
    let robots = RobotsTxt::parse(text(&vectors["robots"], "file").as_bytes());
    judge("robots", &vectors["robots"]["cases"], |case| {
        let agent = robots.agent(text(case, "token"));
        let target = Target::new(text(case, "path"));
        let crawlable = agent.decide(&target).is_allowed;
        let usage = UsageRules::of(&agent).about(&target);
        let expect = (!case["pref"].is_null()).then(|| object(&case["pref"]));
        let same = case["crawlable"] == crawlable && usage.map(said) == expect;
        (!same).then(|| format!("{crawlable}, {usage:?}, not {case}"))
    });
}

#[test]
fn content_signals() {
    judge("content_signal", &vectors("aipref.json")["content_signal"], |case| {
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
    judge("combine", &vectors("aipref.json")["combine"], |case| {
        let statements = case["statements"].as_array().expect("`statements`").iter();
        let read = statements.map(|one| Usage::parse(one.as_str().expect("a text")).unwrap_or_default());
        let usage = Usage::combine(read);
        (said(usage) != object(&case["expect"])).then(|| format!("`{usage}`, not {}", case["expect"]))
    });
}
