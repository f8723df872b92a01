//! What is found in the ledger and the books when the visitors have gone, and whether it agrees with what they know.

use std::path::Path;

use anyhow::Context as _;
use billing::books::Books;
use billing::statement::{Period, Query, Statement};
use ledger::{Checkpoint, Verdict};
use policy::decimal;

use super::checks::Checks;
use super::report;
use super::site;
use super::tally::Tally;
use super::tamper::{self, Tampered};
use super::visitors::{Kind, Visitor};

/// Whose statements are shown.
const OPERATOR: &str = "openai";
const HOLDER: &str = "example-poets";

/// What is found in the ledger and the books when the visitors have gone.
pub(crate) struct Findings {
    checkpoint: Checkpoint,
    tally: Tally,
    whole: Statement,
    operator: Statement,
    holder: Statement,
    verdict: Verdict,
    tampered: Tampered,
}

impl Findings {
    /// Looks into a state directory after a clean stop.
    pub(crate) fn gather(state: &Path, checkpoint: Checkpoint, period: &str) -> anyhow::Result<Findings> {
        let ledger = state.join("ledger");
        let tally = Tally::read(&ledger)?;
        let books = Books::open(state)?;
        let draw_up = |operator: Option<&str>, holder: Option<&str>| -> anyhow::Result<Statement> {
            let query = Query {
                period: Period::parse(period, "UTC")?,
                operator: operator.map(str::to_owned),
                holder: holder.map(str::to_owned),
                by_work: false,
                currency: None,
            };
            Ok(Statement::draw_up(&books, query)?)
        };
        let victim = tally.fetches.iter().find(|(_, record)| record.amount_nano > 0);
        let victim = victim.map(|(index, _)| *index).context("nobody paid for anything")?;
        Ok(Findings {
            checkpoint,
            whole: draw_up(None, None)?,
            operator: draw_up(Some(OPERATOR), None)?,
            holder: draw_up(None, Some(HOLDER))?,
            verdict: ledger::verify(&ledger),
            tampered: tamper::try_it(&ledger, &state.join("changed-copy"), victim)?,
            tally,
        })
    }

    /// All of it in words.
    pub(crate) fn tell(&self, visitors: &[Visitor]) -> anyhow::Result<String> {
        let refused = visitors.iter().filter(|visitor| visitor.payer.is_some()).find_map(|visitor| {
            visitor.log.iter().find(|visit| visit.answer.status == 402).map(|visit| (visitor, visit))
        });
        let (visitor, visit) = refused.context("nobody who can pay was asked to")?;
        let sections = [
            report::heading(3, "The crawlers, from the ledger"),
            report::crawlers(&self.tally, visitors),
            report::heading(4, "A refusal in full"),
            report::refusal(visitor, visit),
            report::heading(5, "Two statements"),
            report::ON_STATEMENTS.to_owned(),
            format!("   What the operator \"{OPERATOR}\" owes (byline statement --operator {OPERATOR}):\n\n"),
            self.operator.to_table(),
            format!("\n   What the holder \"{HOLDER}\" is owed (byline statement --holder {HOLDER}):\n\n"),
            self.holder.to_table(),
            report::heading(6, "The ledger, checked"),
            report::verified(&self.verdict, &self.tampered),
        ];
        Ok(sections.concat())
    }

    /// Compares what the visitors know with the ledger, and the ledger with the statement.
    pub(crate) fn check(&self, visitors: &[Visitor]) -> Checks {
        let mut checks = Checks::default();
        let crawlers = || visitors.iter().filter(|visitor| visitor.kind == Kind::Ai);
        let log = || crawlers().flat_map(|visitor| &visitor.log);

        let passing = || visitors.iter().filter(|visitor| visitor.kind == Kind::Passes);
        let (compared, same) = passing()
            .flat_map(|visitor| &visitor.log)
            .fold((0, 0), |(all, same), visit| (all + 1, same + usize::from(visit.is_site_own)));
        let unrecorded = !self.tally.rows.keys().any(|(_, crawler)| passing().any(|one| one.name == crawler));
        checks.claim(
            same == compared && unrecorded,
            format!(
                "{same} of {compared} answers to person, search engine and feed reader are the site's own bytes"
            ),
        );
        let odd: Vec<String> = log()
            .filter(|visit| !visit.is_as_promised())
            .map(|visit| format!("{} {} {}", visit.label, visit.path, visit.answer.status))
            .collect();
        let mut claim =
            format!("every one of {} answers to crawlers is the one that the policy promises", log().count());
        if let Some(first) = odd.first() {
            claim.push_str(&format!(" (not: {first})"));
        }
        checks.claim(odd.is_empty(), claim);

        let limited =
            log().any(|visit| visit.answer.status == 429 && visit.answer.header("retry-after").is_some());
        checks.claim(limited, "whoever is over its limit is told when to come back (Retry-After)");
        let refused = |visitor: &Visitor| visitor.log.len() as u64;
        let impostor: u64 = crawlers().filter(|one| one.is_impostor()).map(refused).sum();
        let spoofed = self.tally.rows.iter().filter(|((operator, _), _)| operator == "spoof");
        let (count, owed) =
            spoofed.fold((0, 0), |(count, owed), (_, row)| (count + row.refused, owed + row.owed_nano));
        checks.claim(
            count == impostor && impostor > 0 && owed == 0,
            "the impostor has a line of its own, and nothing of it is on OpenAI's bill",
        );

        let mut delivered: Vec<Option<&str>> = log()
            .filter(|visit| matches!(visit.answer.status, 200 | 304))
            .map(|visit| visit.digest.as_deref())
            .collect();
        let mut recorded: Vec<Option<&str>> =
            self.tally.fetches.iter().map(|(_, record)| record.digest.as_deref()).collect();
        delivered.sort_unstable();
        recorded.sort_unstable();
        checks.claim(
            delivered == recorded,
            format!(
                "{} fetches in the crawlers' own logs, {} in the ledger, with the same SHA-256 each",
                delivered.len(),
                recorded.len()
            ),
        );
        // Only what is held whole can say in its head what it cost.
        let volume = log().find(|visit| visit.path == site::VOLUME);
        let streamed = volume.is_some_and(|visit| visit.owed_nano > 0 && visit.charged_nano.is_none());
        let recorded = self.tally.fetches.iter().any(|(_, record)| record.url.ends_with(site::VOLUME));
        checks.claim(
            streamed && recorded,
            "the long volume was streamed, not held, and is in the ledger all the same",
        );

        let mut payers: Vec<&str> = crawlers().filter_map(|visitor| visitor.payer).collect();
        payers.sort_unstable();
        payers.dedup();
        for payer in payers {
            let own: i128 = crawlers()
                .filter(|visitor| visitor.payer == Some(payer))
                .flat_map(|visitor| &visitor.log)
                .map(|visit| i128::from(visit.owed_nano))
                .sum();
            let recorded = self.tally.owed_by(payer);
            let lines = self.whole.lines.iter().filter(|line| &*line.key.operator == payer);
            let stated: i128 = lines.map(|line| line.amount_nano).sum();
            checks.claim(
                own == recorded && recorded == stated && own > 0,
                format!(
                    "{payer}: {} USD by its own log, {} in the ledger, {} in the statement",
                    decimal(own),
                    decimal(recorded),
                    decimal(stated)
                ),
            );
        }
        let lines: i128 = self.whole.lines.iter().map(|line| line.amount_nano).sum();
        checks.claim(
            self.tally.owed() == lines && lines == self.whole.total_nano && self.whole.findings_count == 0,
            format!(
                "all together: {} USD in the ledger, {} in the statement",
                decimal(self.tally.owed()),
                decimal(self.whole.total_nano)
            ),
        );
        let one_root = matches!(
            &self.verdict,
            Verdict::Intact { size, root, .. } if *size == self.checkpoint.size && *root == self.checkpoint.root
        );
        checks.claim(
            one_root && self.whole.ledger_size == self.checkpoint.size,
            "the ledger is intact, and the statement names the same size and root",
        );
        checks.claim(self.tampered.is_found(), "one changed byte is found, in the entry where it is");
        checks
    }
}
