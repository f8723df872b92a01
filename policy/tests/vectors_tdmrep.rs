//! The published cases of TDMRep, read from `testdata/vectors/tdmrep.json`: another file of that form may take its place.

#[path = "support/vectors.rs"]
mod support;

use policy::protocol::robots::Target;
use policy::protocol::tdmrep::{Declaration, POLICY, RESERVATION, Rules, Technique, resolve};
use serde_json::{Value, json};
use support::both_files;

/// Judges each case of a list, in the file and in our own beside it: what it gives against what it expects.
fn judge(list: &str, keys: &[&str], got: impl Fn(&Value) -> Value) {
    for (name, file) in both_files("tdmrep.json") {
        support::judge(&format!("{name} {list}"), &file[list], keys, |case| {
            let got = got(case);
            (got != case["expect"]).then(|| format!("{got}, not {}", case["expect"]))
        });
    }
}

#[test]
fn no_list_of_cases_is_left_out() {
    support::no_other_lists("tdmrep.json", &["file", "precedence"]);
}

#[test]
fn files() {
    judge("file", &["file", "path", "expect"], |case| {
        // A text is a file that is not JSON, or not only.
        let file = case["file"].as_str().map_or_else(|| case["file"].to_string(), str::to_owned);
        let rules = Rules::parse(file.as_bytes()).unwrap_or_default();
        let said = rules.about(&Target::new(case["path"].as_str().expect("`path`")));
        json!([said.reservation.map(u8::from), said.policy])
    });
}

#[test]
fn precedence() {
    judge("precedence", &["file", "header", "meta", "expect"], |case| {
        let mut said = Vec::new();
        if !case["file"].is_null() {
            let Some([reservation, policy]) = case["file"].as_array().map(Vec::as_slice) else {
                panic!("`file` is a reservation and a policy")
            };
            let mut rule = json!({ "location": "/", "tdm-reservation": reservation, "tdm-policy": policy });
            if policy.is_null() {
                rule.as_object_mut().expect("a rule").remove("tdm-policy");
            }
            let rules = Rules::parse(json!([rule]).to_string().as_bytes()).expect("a file");
            said.push((Technique::File, rules.about(&Target::new("/x"))));
        }
        // Whatever else a response or a page says is nothing to us.
        let pairs = |name: &str| -> Vec<(&str, &str)> {
            let members = case[name].as_object().expect("an object").iter();
            members.map(|(key, value)| (key.as_str(), value.as_str().expect("a text"))).collect()
        };
        if !case["header"].is_null() {
            let fields = pairs("header");
            let named = |wanted: &'static str| {
                let fields = fields.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
                fields.map(|(_, value)| value.as_bytes())
            };
            said.push((Technique::Field, Declaration::from_fields(named(RESERVATION), named(POLICY))));
        }
        if !case["meta"].is_null() {
            said.push((Technique::Meta, Declaration::from_meta(pairs("meta"))));
        }
        let resolved = resolve(said);
        json!([
            resolved.reservation.map(|(is_reserved, _)| u8::from(is_reserved)),
            resolved.policy.map(|(url, _)| url)
        ])
    });
}
