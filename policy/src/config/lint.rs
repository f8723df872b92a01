//! Warnings about a policy that compiles, but can hardly mean what it says.

use std::collections::HashMap;

use crate::PolicySnapshot;
use crate::fields::Report;

/// Looks for rules that can never decide: for each of their combinations another rule, asked before, has the same
/// conditions.
pub(crate) fn warn(report: &Report, policy: &PolicySnapshot) {
    let rules = &policy.rules.rules;
    let mut first_of: HashMap<String, usize> = HashMap::new();
    // For each rule the first that is asked in its place, as long as there is one for all its combinations.
    let mut winners: Vec<Option<usize>> = vec![None; rules.len()];
    let mut decides = vec![false; rules.len()];
    for own in &policy.rules.order {
        let rule = &rules[own.rule];
        let conditions =
            format!("{}\n{}\n{:?}\n{:?}\n{:?}", own.host, own.path.as_str(), own.media, rule.who, rule.rungs);
        let winner = *first_of.entry(conditions).or_insert(own.rule);
        if winner == own.rule {
            decides[own.rule] = true;
        } else {
            winners[own.rule].get_or_insert(winner);
        }
    }
    for (index, rule) in rules.iter().enumerate() {
        if let (Some(winner), false) = (winners[index], decides[index]) {
            report.warning(
                rule.place,
                format!("the rule `{}` never decides", rule.name),
                format!(
                    "`{}` has the same conditions and is asked first; see `byline explain`",
                    rules[winner].name
                ),
            );
        }
    }
}
