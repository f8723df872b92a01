//! Files of vectors, and how a list of cases is judged.
//!
//! Another file in the format of one of them may be put in its place, or in another directory that `BYLINE_VECTORS` names. All of it
//! is judged or named as what it is not: a list, a key or a word that nothing here knows fails the test, and one case that
//! cannot be judged hides no other.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::disallowed_methods, reason = "tests read their data; the crate itself may not")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of vectors, read when the test runs.
pub fn vectors(file: &str) -> Value {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors");
    let path = std::env::var_os("BYLINE_VECTORS").map_or_else(own, PathBuf::from).join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of vectors and, unless another directory is named, our own of the same format beside it, each with where it is from.
pub fn both_files(file: &str) -> Vec<(String, Value)> {
    let mut files = vec![(file.to_owned(), vectors(file))];
    if std::env::var_os("BYLINE_VECTORS").is_none() {
        let more = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors-more").join(file);
        let text = std::fs::read(&more).unwrap_or_else(|error| panic!("{}: {error}", more.display()));
        files.push((format!("vectors-more/{file}"), serde_json::from_slice(&text).expect("JSON")));
    }
    files
}

/// Fails for a file with a list that nothing judges.
pub fn no_other_lists(file: &str, lists: &[&str]) {
    if let Some(unknown) = unknown_key(&vectors(file), lists) {
        panic!("{file}: {unknown}");
    }
}

/// Judges each case of a list, which has some; a case has its `id`, or its place. `keys` are those that `case_differs` looks at.
pub fn judge(list: &str, cases: &Value, keys: &[&str], case_differs: impl Fn(&Value) -> Option<String>) {
    let cases = cases.as_array().unwrap_or_else(|| panic!("{list} is a list"));
    assert!(!cases.is_empty(), "{list} has cases");
    let judge_one = |case: &Value| {
        let judged = || catch_unwind(AssertUnwindSafe(|| case_differs(case)));
        unknown_key(case, keys).or_else(|| judged().unwrap_or_else(|panic| Some(words_of(&*panic))))
    };
    let differ: Vec<String> = cases
        .iter()
        .enumerate()
        .filter_map(|(index, case)| {
            let id = case["id"].as_str().map_or_else(|| format!("{list}[{index}]"), str::to_owned);
            judge_one(case).map(|what| format!("{id}: {what}"))
        })
        .collect();
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), cases.len(), differ.join("\n"));
}

/// A key besides these, `id` and `note`; whatever is no object has none and is told.
pub fn unknown_key(object: &Value, keys: &[&str]) -> Option<String> {
    let Some(members) = object.as_object() else { return Some(format!("no object: {object}")) };
    let is_known = |key: &str| keys.contains(&key) || key == "id" || key == "note";
    let unknown: Vec<&String> = members.keys().filter(|key| !is_known(key)).collect();
    (!unknown.is_empty()).then(|| format!("nothing judges {unknown:?}"))
}

/// A text of a case.
pub fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("`{key}` is a text in {case}"))
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it cannot be judged").to_owned()
}
