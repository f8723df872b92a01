//! The policy file: whatever it holds, it compiles or says what is wrong and where.

use policy::{Diagnostic, PolicySnapshot, Severity, Source};

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let compile = || {
        let source = Source { name: "policy.toml".to_owned(), text: text.to_owned() };
        // A text may include itself, or what is not there.
        PolicySnapshot::compile(source, None, &mut |name, _| match name {
            "policy.toml" => Ok(Source { name: name.to_owned(), text: text.to_owned() }),
            _ => Err("not there".to_owned()),
        })
    };
    match compile() {
        Err(diagnostics) => {
            assert!(
                diagnostics.iter().any(|one| one.severity == Severity::Error),
                "refused without an error"
            );
            check(&diagnostics, text);
        }
        Ok((snapshot, warnings)) => {
            assert!(warnings.iter().all(|one| one.severity == Severity::Warning), "accepted with an error");
            check(&warnings, text);
            let digest = PolicySnapshot::digest_of(snapshot.mode(), snapshot.sources());
            assert_eq!(**snapshot.digest(), digest);
            assert_eq!(compile().expect("it did compile").0.digest(), snapshot.digest());
            for target in ["/", "/articles/one?p=2&page=3", "/robots.txt"] {
                let work = snapshot.work("https", "example.com", target).expect("a plain path");
                assert_eq!(work.url.split('?').next(), Some(&*format!("https://example.com{}", work.path)));
            }
            for row in snapshot.directory().rows() {
                assert!(snapshot.directory().row(&row.token).is_some());
            }
        }
    }
}

fn check(diagnostics: &[Diagnostic], text: &str) {
    for one in diagnostics.iter().filter(|one| one.file == "policy.toml") {
        let line = text.split('\n').nth(one.line - 1).unwrap_or_else(|| panic!("line of {one:?}"));
        assert_eq!(line.trim_end_matches('\r'), one.excerpt);
        let length = line.chars().count();
        assert!((1..=length + 1).contains(&one.column), "{one:?}");
        assert!(one.width >= 1 && one.column - 1 + one.width <= length.max(one.column), "{one:?}");
    }
    let shown = policy::render(diagnostics);
    let unseemly = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!shown.chars().any(|c| unseemly(&c)), "{shown:?}");
}
