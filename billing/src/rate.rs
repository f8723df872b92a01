//! One pure function from what a fetch delivered to what it costs.
//!
//! It is called when a fetch closes and again by every statement, and must give the same both times: it reads nothing
//! but its argument, and everything in its argument is in the record.

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
    pub fn of(record: &UsageRecord) -> Facts {
        Facts {
            status: record.status,
            head: record.method == "HEAD",
            outcome: record.outcome,
            charge: record.verdict == policy::Verdict::Charge.as_str(),
            unit: record.unit.as_deref().and_then(unit_of),
            price_nano: record.price_nano,
            max_nano: record.max_nano,
            bytes: record.bytes,
            declared_bytes: record.declared_bytes,
            words: record.words,
            repeat: record.repeat,
            owed: record.owed,
        }
    }
}

/// What a record's fetch costs. A statement that finds another amount in the record has found a fault.
pub fn rate_record(record: &UsageRecord) -> Rated {
    rate(&Facts::of(record))
}

/// What a fetch costs. Total: no input makes it panic or overflow.
///
/// Billed are 200 and 206 with a body that was asked for. An origin's failure and a repeat cost nothing. A crawler that
/// hung up pays for what it got: bytes and words as counted; of a fetch's price the part of the declared length, or all
/// of it if no length was declared and more than [`HOLD_BYTES`] had left, else nothing.
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
