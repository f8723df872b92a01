//! One pure function from what a fetch delivered to what it costs.
//!
//! It is called when a fetch closes and again by every statement, and must give the same both times: it reads nothing
//! but its argument, and everything in its argument is in the record.

use std::ops::Deref;

use metrics::{Outcome, UsageRecord};
use policy::{Unit, divide_half_even};

/// The bytes that a response may have in Byline's hands before the first of them leaves. A crawler that hangs up on
/// a body of undeclared length pays a fetch's price once it got more than this.
pub const HOLD_BYTES: u64 = 64 * 1024;

/// All that the price of a fetch depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The status delivered.
    pub status: u16,
    /// The request was a HEAD.
    pub head: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The rule asks a price.
    pub charge: bool,
    /// The unit of the price.
    pub unit: Option<Unit>,
    /// Price of one unit.
    pub price_nano: Option<i64>,
    /// The most that the fetch may cost.
    pub max_nano: Option<i64>,
    /// Body bytes delivered.
    pub bytes: u64,
    /// The length that the origin declared.
    pub declared_bytes: Option<u64>,
    /// Words of decoded text.
    pub words: Option<u64>,
    /// The same version was paid or quoted before, within the rule's time.
    pub repeat: bool,
    /// The quote is owed.
    pub owed: bool,
    /// It was paid before delivery, the whole price of a fetch.
    pub settled: bool,
}

/// What a fetch costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rated {
    /// What was counted in the unit's measure (fetches, bytes or words); 0 where nothing is rated.
    pub quantity: u64,
    /// What the fetch would cost.
    pub quote_nano: i64,
    /// What is owed for it: the quote, or 0.
    pub amount_nano: i64,
}

impl Facts {
    /// The facts of a record.
    pub fn of<S: Deref<Target = str>>(record: &UsageRecord<S>) -> Facts {
        Facts {
            status: record.status,
            head: *record.method == *"HEAD",
            outcome: record.outcome,
            charge: *record.verdict == *policy::Verdict::Charge.as_str(),
            unit: record.unit.as_deref().and_then(unit_of),
            price_nano: record.price_nano,
            max_nano: record.max_nano,
            bytes: record.bytes,
            declared_bytes: record.declared_bytes,
            words: record.words,
            repeat: record.repeat,
            owed: record.owed,
            settled: record.settlement.is_some(),
        }
    }
}

/// What a record's fetch costs. A statement that finds another amount in the record has found a fault.
pub fn rate_record<S: Deref<Target = str>>(record: &UsageRecord<S>) -> Rated {
    rate(&Facts::of(record))
}

/// What a fetch costs. Total: no input makes it panic or overflow.
///
/// Billed are 200 and 206 with a body that was asked for. An origin's failure and a repeat cost nothing. A crawler that
/// hung up pays for what it got: bytes and words as counted; of a fetch's price the part of the declared length, or all
/// of it if no length was declared and more than [`HOLD_BYTES`] had left, else nothing.
///
/// What was paid before delivery costs what was paid, whatever became of the delivery; delivered again, it is a repeat.
pub fn rate(facts: &Facts) -> Rated {
    let Some(Measured { unit, quantity, numerator, denominator }) = measure(facts) else {
        return Rated::default();
    };
    let price = i128::from(facts.price_nano.unwrap_or(0).max(0));
    // Both factors are below 2⁶⁴, so the product fits; the quotient is capped before it is narrowed.
    let cost = divide_half_even(price * numerator, denominator * i128::from(unit.size()));
    let cap = i128::from(facts.max_nano.unwrap_or(i64::MAX).max(0));
    let quote_nano = i64::try_from(cost.min(cap)).expect("capped at an i64");
    Rated { quantity, quote_nano, amount_nano: if facts.owed { quote_nano } else { 0 } }
}

/// How much of its unit a fetch takes: `quantity` as recorded, and the exact fraction that is multiplied by the price.
struct Measured {
    unit: Unit,
    quantity: u64,
    numerator: i128,
    denominator: i128,
}

fn measure(facts: &Facts) -> Option<Measured> {
    if facts.settled {
        let unit = facts.unit.filter(|unit| *unit == Unit::Fetch && !facts.repeat && facts.charge)?;
        return Some(Measured { unit, quantity: 1, numerator: 1, denominator: 1 });
    }
    let aborted = match facts.outcome {
        Outcome::Complete => false,
        Outcome::Aborted => true,
        Outcome::NotModified | Outcome::Truncated | Outcome::OriginFailed => return None,
    };
    let billed = matches!(facts.status, 200 | 206) && !facts.head && facts.charge && !facts.repeat;
    let unit = facts.unit.filter(|_| billed)?;
    let whole = |quantity: u64| Measured { unit, quantity, numerator: i128::from(quantity), denominator: 1 };
    match unit {
        Unit::Megabyte => Some(whole(facts.bytes)),
        Unit::ThousandWords => Some(whole(facts.words.unwrap_or(0))),
        Unit::Fetch if !aborted => Some(whole(1)),
        Unit::Fetch => match facts.declared_bytes {
            Some(0) => None,
            Some(declared) => Some(Measured {
                unit,
                quantity: 1,
                numerator: i128::from(facts.bytes.min(declared)),
                denominator: i128::from(declared),
            }),
            None if facts.bytes > HOLD_BYTES => Some(whole(1)),
            None => None,
        },
    }
}

/// The unit of a record's word.
pub(crate) fn unit_of(word: &str) -> Option<Unit> {
    [Unit::Fetch, Unit::Megabyte, Unit::ThousandWords].into_iter().find(|unit| unit.as_str() == word)
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// A complete GET of 1,000,000 bytes and 2,000 words for 0.002 a unit, owed.
    fn facts(unit: Unit) -> Facts {
        Facts {
            status: 200,
            head: false,
            outcome: Outcome::Complete,
            charge: true,
            unit: Some(unit),
            price_nano: Some(2_000_000),
            max_nano: None,
            bytes: 1_000_000,
            declared_bytes: Some(1_000_000),
            words: Some(2_000),
            repeat: false,
            owed: true,
            settled: false,
        }
    }

    #[track_caller]
    fn check(facts: Facts, quantity: u64, quote_nano: i64) {
        let owed = Rated { quantity, quote_nano, amount_nano: quote_nano };
        assert_eq!(rate(&facts), owed);
        assert_eq!(rate(&Facts { owed: false, ..facts }), Rated { amount_nano: 0, ..owed });
    }

    #[test]
    fn a_complete_fetch_costs_its_units() {
        check(facts(Unit::Fetch), 1, 2_000_000);
        check(facts(Unit::Megabyte), 1_000_000, 2_000_000);
        check(facts(Unit::ThousandWords), 2_000, 4_000_000);
        check(Facts { status: 206, bytes: 500, ..facts(Unit::Megabyte) }, 500, 1_000);
        check(Facts { status: 206, bytes: 500, ..facts(Unit::Fetch) }, 1, 2_000_000);
        check(Facts { words: None, ..facts(Unit::ThousandWords) }, 0, 0);
    }

    #[test]
    fn the_quotient_is_rounded_half_to_even_and_then_capped() {
        let one_nano = |bytes| Facts { price_nano: Some(1), bytes, ..facts(Unit::Megabyte) };
        check(one_nano(499_999), 499_999, 0);
        check(one_nano(500_000), 500_000, 0);
        check(one_nano(500_001), 500_001, 1);
        check(one_nano(1_500_000), 1_500_000, 2);
        check(one_nano(2_500_000), 2_500_000, 2);
        check(Facts { max_nano: Some(1_500_000), ..facts(Unit::Fetch) }, 1, 1_500_000);
        check(Facts { max_nano: Some(1_500_000), ..facts(Unit::Megabyte) }, 1_000_000, 1_500_000);
        check(Facts { max_nano: Some(9_000_000), ..facts(Unit::ThousandWords) }, 2_000, 4_000_000);
        let endless = Facts { price_nano: Some(i64::MAX), bytes: u64::MAX, ..facts(Unit::Megabyte) };
        check(endless, u64::MAX, i64::MAX);
    }

    #[test]
    fn who_hangs_up_pays_for_what_arrived() {
        let aborted = |unit, bytes| Facts { outcome: Outcome::Aborted, bytes, ..facts(unit) };
        check(aborted(Unit::Megabyte, 250_000), 250_000, 500_000);
        check(Facts { words: Some(100), ..aborted(Unit::ThousandWords, 9) }, 100, 200_000);
        check(aborted(Unit::Fetch, 250_000), 1, 500_000);
        check(aborted(Unit::Fetch, 0), 1, 0);
        check(aborted(Unit::Fetch, 2_000_000), 1, 2_000_000); // more than declared is still one fetch
        let unknown = |bytes| Facts { declared_bytes: None, ..aborted(Unit::Fetch, bytes) };
        check(unknown(HOLD_BYTES), 0, 0);
        check(unknown(HOLD_BYTES + 1), 1, 2_000_000);
        check(Facts { declared_bytes: Some(0), ..aborted(Unit::Fetch, 0) }, 0, 0);
    }

    #[test]
    fn what_is_not_a_delivered_work_costs_nothing() {
        for unit in [Unit::Fetch, Unit::Megabyte, Unit::ThousandWords] {
            let good = facts(unit);
            for status in
                [0, 100, 199, 201, 203, 204, 301, 302, 304, 307, 400, 402, 404, 416, 500, 503, 65_535]
            {
                check(Facts { status, ..good }, 0, 0);
            }
            for outcome in [Outcome::NotModified, Outcome::Truncated, Outcome::OriginFailed] {
                check(Facts { outcome, ..good }, 0, 0);
            }
            check(Facts { head: true, ..good }, 0, 0);
            check(Facts { repeat: true, ..good }, 0, 0);
            check(Facts { charge: false, ..good }, 0, 0);
            check(Facts { unit: None, ..good }, 0, 0);
            assert_eq!(rate(&Facts { price_nano: None, ..good }).quote_nano, 0);
            assert_eq!(rate(&Facts { price_nano: Some(-5), ..good }).quote_nano, 0);
        }
    }

    prop_compose! {
        fn any_facts()(
            status in prop_oneof![Just(200), Just(206), any::<u16>()],
            outcome in 0usize..5,
            unit in 0usize..4,
            (head, charge, repeat, owed, settled) in any::<(bool, bool, bool, bool, bool)>(),
            (price_nano, max_nano) in (option::of(edges()), option::of(edges())),
            (bytes, declared_bytes, words) in
                (any::<u64>(), option::of(any::<u64>()), option::of(any::<u64>())),
        ) -> Facts {
            let units = [None, Some(Unit::Fetch), Some(Unit::Megabyte), Some(Unit::ThousandWords)];
            Facts { status, head, outcome: Outcome::ALL[outcome], charge, unit: units[unit], price_nano,
                max_nano, bytes, declared_bytes, words, repeat, owed, settled }
        }
    }

    fn edges() -> impl Strategy<Value = i64> {
        prop_oneof![Just(i64::MAX), Just(i64::MIN), Just(0), Just(1), any::<i64>(), 0..10_000_000_000i64]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn any_input_has_a_price_within_its_limits(facts in any_facts()) {
            let rated = rate(&facts);
            prop_assert!(rated.quote_nano >= 0);
            prop_assert_eq!(rated.amount_nano, if facts.owed { rated.quote_nano } else { 0 });
            if let Some(max) = facts.max_nano {
                prop_assert!(rated.quote_nano <= max.max(0));
            }
            if facts.unit == Some(Unit::Fetch) {
                prop_assert!(rated.quote_nano <= facts.price_nano.unwrap_or(0).max(0), "a fetch is one fetch");
            }
            prop_assert_eq!(rate(&facts), rated);
        }

        #[test]
        fn more_never_costs_less(facts in any_facts(), more in any::<u32>()) {
            let larger = Facts {
                bytes: facts.bytes.saturating_add(u64::from(more)),
                words: facts.words.map(|words| words.saturating_add(u64::from(more))),
                ..facts
            };
            prop_assert!(rate(&larger).quote_nano >= rate(&facts).quote_nano);
        }
    }
}
