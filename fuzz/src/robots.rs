//! robots.txt: any bytes are one, and our lines in it change nothing of what the site says.

use policy::protocol::robots::{
    Addition, Audience, BYTES_MAX, Directive, RobotsTxt, Target, augment, without_additions,
};

/// The last line is a path, too.
pub(crate) fn run(input: &[u8]) {
    let robots = RobotsTxt::parse(input);
    let mut last = 0;
    for line in robots.lines() {
        assert!(line.number > last, "lines are counted");
        last = line.number;
        assert!(!line.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'#')), "{line:?}");
    }
    assert!(robots.remarks().all(|remark| remark.line <= last.max(1)));

    let path = String::from_utf8_lossy(input.rsplit(|byte| *byte == b'\n').next().unwrap_or_default());
    let targets = [Target::new(&path), Target::new("/a/b?c=/d"), Target::new("/robots.txt")];
    let own = without_additions(input);
    let robots = RobotsTxt::parse(&own);
    let said = |key: &str| vec![Directive::other(key, "search=y").expect("a plain line")];
    let additions = [
        Addition { audience: Audience::Everyone, directives: said("Content-Usage") },
        Addition { audience: Audience::Agents(vec!["NewBot".to_owned()]), directives: said("X-New") },
    ];
    let augmented = augment(input, &said("License"), &additions);
    let Ok(augmented) = augmented else {
        assert!(own.len() + 1_000 > BYTES_MAX / 2, "only for its length");
        return;
    };
    assert_eq!(without_additions(&augmented), own);
    assert_eq!(augment(&augmented, &said("License"), &additions).as_ref(), Ok(&augmented));
    let after = RobotsTxt::parse(&augmented);
    let names = robots.agents().into_iter().take(8).map(|name| name.into_owned());
    for name in names.chain(["newbot", "*", "x"].map(str::to_owned)) {
        let (before, after) = (robots.agent(&name), after.agent(&name));
        for target in &targets {
            assert_eq!(
                before.decide(target).is_allowed,
                after.decide(target).is_allowed,
                "{name} {target:?}"
            );
        }
        assert!(before.decide(&targets[2]).is_allowed);
        for rule in before.rules().iter().take(64) {
            let decision = before.decide(&targets[0]);
            let beats = rule.pattern.matches(&targets[0]) && !targets[0].is_robots();
            assert!(
                !beats || decision.rule.is_some_and(|best| best.pattern.octets() >= rule.pattern.octets())
            );
        }
    }
}
