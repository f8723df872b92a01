//! Files of vectors, and how a list of cases is judged.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::disallowed_methods, reason = "tests read their data; the crate itself may not")]

use std::path::Path;

use serde_json::Value;

/// A file of vectors, read when the test runs: another file in its format may be put in its place.
pub fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors").join(file);
    serde_json::from_slice(&std::fs::read(path).expect("the file")).expect("JSON")
}

/// Judges each case of a list, which has some; a case has its `id`, or its place.
pub fn judge(list: &str, cases: &Value, case_differs: impl Fn(&Value) -> Option<String>) {
    let cases = cases.as_array().unwrap_or_else(|| panic!("{list} is a list"));
    assert!(!cases.is_empty(), "{list} has cases");
    let differ: Vec<String> = cases
        .iter()
        .enumerate()
        .filter_map(|(index, case)| {
            let id = case["id"].as_str().map_or_else(|| format!("{list}[{index}]"), str::to_owned);
            case_differs(case).map(|what| format!("{id}: {what}"))
        })
        .collect();
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), cases.len(), differ.join("\n"));
}

/// A text of a case.
pub fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("`{key}` is a text in {case}"))
}
