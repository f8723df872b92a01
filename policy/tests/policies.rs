//! Whole policies: good ones compile, bad ones say what is wrong, where, and what would be right.
//!
//! `testdata/policy/bad/NAME.toml` has its diagnostics in `NAME.expected`. To write them anew after a change that is meant,
//! run the tests with `BYLINE_BLESS=1` and read the difference.

#![allow(clippy::disallowed_methods, reason = "tests read their data; the crate itself may not")]

use std::path::{Path, PathBuf};

use policy::{Diagnostic, PolicySnapshot, Source, render};

fn folder(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/policy").join(name);
    let entries = std::fs::read_dir(&folder).expect("testdata is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty(), "{} is not empty", folder.display());
    files
}

/// Compiles a file under its bare name; includes are found beside it, in `include/`.
fn compile(path: &Path) -> Result<(PolicySnapshot, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = Source {
        name: path.file_name().expect("a file").to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).expect("testdata is readable"),
    };
    let included = path.parent().expect("a folder").join("include");
    PolicySnapshot::compile(source, None, &mut |name, _| {
        let text = std::fs::read_to_string(included.join(name)).map_err(|_| "no such file".to_owned())?;
        Ok(Source { name: name.to_owned(), text })
    })
}

#[test]
fn good_policies_compile_without_a_word() {
    for path in folder("good") {
        match compile(&path) {
            Ok((snapshot, warnings)) => {
                assert!(warnings.is_empty(), "{}:\n{}", path.display(), render(&warnings));
                assert!(snapshot.digest().starts_with("sha256:") && snapshot.digest().len() == 71);
            }
            Err(errors) => panic!("{}:\n{}", path.display(), render(&errors)),
        }
    }
}

#[test]
fn bad_policies_say_what_is_wrong_and_where() {
    let bless = std::env::var_os("BYLINE_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in folder("bad") {
        let found = match compile(&path) {
            Ok((_, warnings)) => render(&warnings),
            Err(errors) => render(&errors),
        };
        let expected_path = path.with_extension("expected");
        if bless {
            std::fs::write(&expected_path, &found).expect("testdata is writable");
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        assert!(!found.is_empty(), "{} has something wrong", path.display());
        if found != expected {
            wrong.push(format!("{}\n--- expected\n{expected}\n--- found\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
