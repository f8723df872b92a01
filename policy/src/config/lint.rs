//! Warnings about a policy that compiles, but can hardly mean what it says.

use super::fields::Report;
use crate::PolicySnapshot;

/// Looks for rules that can never decide.
pub(crate) fn warn(report: &Report, policy: &PolicySnapshot) {
    for (index, rule) in policy.rules.rules.iter().enumerate() {
        let mut winners =
            policy.rules.order.iter().enumerate().filter(|(_, own)| own.rule == index).map(|(at, own)| {
                policy.rules.order[..at].iter().find_map(|other| {
                    let winner = &policy.rules.rules[other.rule];
                    let same_fetches = other.host == own.host
                        && other.path == own.path
                        && other.media == own.media
                        && winner.who == rule.who
                        && winner.rungs == rule.rungs;
                    (same_fetches && other.rule != index).then_some(winner)
                })
            });
        let Some(Some(winner)) = winners.next() else { continue };
        if winners.all(|winner| winner.is_some()) {
            report.warning(
                rule.place,
                format!("the rule `{}` never decides", rule.name),
                format!("`{}` has the same conditions and is asked first; see `byline explain`", winner.name),
            );
        }
    }
}
