//! The same sixteen requests as four servers log them give the same report, and the report that was looked at once.

use std::path::Path;

use billing::replay::{Replay, Settings, for_each_line};
use policy::{PolicySnapshot, Source};

#[test]
fn every_flavour_gives_the_report_that_was_looked_at() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/replay");
    let read = |name: &str| std::fs::read(folder.join(name)).expect(name);
    let text = |name: &str| String::from_utf8(read(name)).expect(name);

    let source = Source { name: "policy.toml".into(), text: text("policy.toml") };
    let compiled = PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing to include".into()));
    let policy = compiled.unwrap_or_else(|diagnostics| panic!("{}", policy::render(&diagnostics))).0;
    let registry = PolicySnapshot::observe_only();
    let settings = Settings { scheme: "https".into(), ..Settings::default() };

    for name in ["combined.log", "nginx.json", "caddy.json", "cloudflare.json"] {
        let mut replay = Replay::new(Some(&policy), None, &registry, &settings);
        let log = read(name);
        for_each_line(&mut &log[..], &mut |number, line| replay.line(name, number, line))
            .expect("bytes in memory");
        let report = replay.finish(&registry);
        let skipped: Vec<(&str, u64)> =
            report.first_skipped.iter().map(|one| (&*one.file, one.line)).collect();
        assert_eq!(skipped, [(name, 8)]);
        // What is wrong with the broken line differs with the format; all else is the same.
        let shown = report.to_text();
        let rest: Vec<&str> = shown.lines().filter(|line| !line.contains(&format!("{name}:8:"))).collect();
        let expected = text("expected.txt");
        assert_eq!(rest, expected.lines().collect::<Vec<_>>(), "{name}\n{shown}");
    }
}
