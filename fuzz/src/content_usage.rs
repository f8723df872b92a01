//! Preferences: what is read can be written, and is then read as the same.

use policy::protocol::aipref::{Category, Preference, Usage, UsageRules, directive};
use policy::protocol::content_signal::{self, ContentSignal};
use policy::protocol::robots::{RobotsTxt, Section, Target, publish};

pub(crate) fn run(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let each: Vec<Usage> = lines.iter().map(|line| Usage::parse(line).unwrap_or_default()).collect();
    for usage in &each {
        assert_eq!(Usage::parse(usage.to_string()), Ok(*usage));
    }
    let all = Usage::combine(each.iter().copied());
    for category in Category::ALL {
        let is_forbidden = each.iter().any(|usage| usage.about(category) == Preference::Disallow);
        assert_eq!(all.about(category) == Preference::Disallow, is_forbidden);
    }
    let field = Usage::from_fields(lines.iter().copied()).unwrap_or_default();
    if let Ok(directive) = directive(None, field) {
        let section = Section::new(vec!["*".to_owned()], vec![directive]).expect("a group");
        let robots = RobotsTxt::parse(&publish(&[], &[section]).expect("a short file"));
        let agent = robots.agent("x");
        assert_eq!(UsageRules::of(&agent).about(&Target::new("/x")), Some(field));
    }

    let signal = ContentSignal::parse(input);
    assert!(signal.unknown.len() <= content_signal::UNKNOWN_MAX);
    let shown = signal.to_string();
    if shown.len() <= content_signal::BYTES_MAX {
        assert_eq!(ContentSignal::parse(&shown), signal, "{shown:?}");
    }
    if let Ok(directive) = signal.directive() {
        let section = Section::new(vec!["*".to_owned()], vec![directive]).expect("a group");
        let robots = RobotsTxt::parse(&publish(&[], &[section]).expect("a short file"));
        assert_eq!(ContentSignal::of(&robots, &robots.agent("x")), signal);
    }

    let robots = RobotsTxt::parse(input);
    let agent = robots.agent("x");
    let rules = UsageRules::of(&agent);
    let target = Target::new("/a/b?c");
    assert_eq!(rules.about(&target).is_some(), agent.decide(&target).is_allowed);
    assert_eq!(rules.rules().len(), agent.extensions("content-usage").count());
    ContentSignal::of(&robots, &agent);
}
