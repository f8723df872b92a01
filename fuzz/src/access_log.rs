//! Lines of somebody's access log.

use std::sync::LazyLock;

use billing::replay::{Clock, Replay, Settings, parse};
use policy::PolicySnapshot;

static POLICY: LazyLock<PolicySnapshot> = LazyLock::new(PolicySnapshot::observe_only);

/// Several lines, as in a file.
pub(crate) fn run(input: &[u8]) {
    let settings = Settings { scheme: "https".to_owned(), ..Settings::default() };
    let mut replay = Replay::new(Some(&POLICY), None, &POLICY, &settings);
    let mut clock = Clock::default();
    let mut lines = 0;
    for line in input.split(|byte| *byte == b'\n').take(32) {
        // What the clock remembers of the lines before makes it faster, nothing else.
        let event = parse(line, &mut clock);
        assert_eq!(event, parse(line, &mut Clock::default()), "a line depends on those before it");
        if let Ok(event) = &event {
            assert!(event.method.len() <= 32, "{event:?}");
            assert!(event.status < 1_000, "{event:?}");
            assert_eq!(event.is_request(), !event.method.is_empty() && !event.target.is_empty());
        }
        replay.line("fuzz", lines, Some(line));
        lines += 1;
    }
    assert!(replay.lines_read() <= lines);
    let report = replay.finish(&POLICY);
    let shown = report.to_text();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    assert!(serde_json::to_string(&report.to_json()).is_ok());
}
