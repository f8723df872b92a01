//! The derived state: what is held, used up, repeated, saved; and each thing counted once.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use billing::account::Accounts;
use billing::derived::{Derived, LedgerObserver};
use billing::repeat::{KEYS_MAX, REDELIVERY_SECS};
use billing::spent::{SpendError, SpendKey};
use ledger::Observer as _;
use metrics::{Entry, Gap, Outcome, Rollup, UsageRecord};
use policy::{Currency, Limit, Money, PolicySnapshot, Source, Standing as _};

const NOW: i64 = 1_795_354_800;
const DAY: u64 = 86_400;

fn record(url: &str, seconds: i64) -> UsageRecord {
    UsageRecord {
        id: "an id".into(),
        source: "//example.org/ledger".into(),
        time_micros: seconds * 1_000_000,
        crawler: "ExampleBot".into(),
        operator: "example-labs".into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "none".into(),
        method: "GET".into(),
        url: url.into(),
        work: url.into(),
        holder: Some("example-press".into()),
        licence: None,
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        verdict: "charge".into(),
        authorisation: None,
        settlement: None,
        would_refuse: None,
        status: 200,
        outcome: Outcome::Complete,
        bytes: 1_000,
        declared_bytes: Some(1_000),
        digest: Some("sha-256=:x:".into()),
        etag: Some("\"v1\"".into()),
        content_range: None,
        content_type: None,
        words: None,
        words_capped: false,
        currency: "USD".into(),
        unit: Some("fetch".into()),
        price_nano: Some(100),
        max_nano: None,
        quantity: 0,
        repeat: false,
        owed: true,
        quote_nano: 0,
        amount_nano: 0,
    }
}

fn usd(nano: i64) -> Money {
    Money { nano, currency: Currency::USD }
}

fn derived() -> Arc<Derived> {
    Derived::new("//example.org/ledger")
}

/// Closes and commits; the amount.
fn fetch(derived: &Derived, mut record: UsageRecord, free_secs: u64) -> i64 {
    let _closing = derived.close(&mut record, free_secs);
    derived.observe(0, &record.encode());
    record.amount_nano
}

fn limit(requests: u64) -> Limit {
    Limit {
        rule: Arc::from("training pays"),
        requests: Some(requests),
        bytes: Some(1 << 40),
        period_secs: 60,
    }
}

#[test]
fn the_same_version_is_paid_for_once_within_its_time() {
    let derived = derived();
    assert_eq!(fetch(&derived, record("/a", NOW), DAY), 100);
    assert_eq!(fetch(&derived, record("/a", NOW + 1), DAY), 0);
    assert_eq!(fetch(&derived, record("/a", NOW + DAY as i64 - 1), DAY), 0, "a repeat does not prolong it");
    assert_eq!(fetch(&derived, record("/a", NOW + DAY as i64), DAY), 100);
    assert_eq!(fetch(&derived, record("/b", NOW), DAY), 100, "another work");
    let newer = UsageRecord { etag: Some("\"v2\"".into()), ..record("/b", NOW) };
    assert_eq!(fetch(&derived, newer, DAY), 100, "another version");
    let other = UsageRecord { operator: "acme-ai".into(), ..record("/b", NOW) };
    assert_eq!(fetch(&derived, other, DAY), 100, "another operator");
    let month = metrics::month_of(NOW * 1_000_000);
    assert_eq!(derived.accounts().owed("example-labs", Currency::USD, month), 400);
    assert_eq!(derived.accounts().owed("acme-ai", Currency::USD, month), 100);
}

#[test]
fn redelivery_is_free_for_ten_minutes_unless_every_fetch_counts() {
    let derived = derived();
    let redelivery = REDELIVERY_SECS as i64;
    assert_eq!(fetch(&derived, record("/a", NOW), 1), 100);
    assert_eq!(fetch(&derived, record("/a", NOW + redelivery - 1), 1), 0);
    assert_eq!(fetch(&derived, record("/a", NOW + redelivery), 1), 100);
    assert_eq!(fetch(&derived, record("/b", NOW), 0), 100);
    assert_eq!(fetch(&derived, record("/b", NOW), 0), 100);
}

#[test]
fn slices_are_never_cheaper_than_the_whole() {
    let derived = derived();
    let slice = |range: &str, seconds| UsageRecord {
        status: 206,
        unit: Some("MB".into()),
        price_nano: Some(1_000_000),
        content_range: Some(range.into()),
        ..record("/a", seconds)
    };
    assert_eq!(fetch(&derived, slice("bytes 0-999/2000", NOW), DAY), 1_000);
    assert_eq!(fetch(&derived, slice("bytes 0-999/2000", NOW), DAY), 0, "the same slice again");
    assert_eq!(fetch(&derived, slice("bytes 1000-1999/2000", NOW), DAY), 1_000, "the next one pays");
    let whole = UsageRecord { status: 200, content_range: None, ..slice("", NOW) };
    assert_eq!(fetch(&derived, whole, DAY), 1_000, "slices do not buy the whole");
    assert_eq!(fetch(&derived, slice("bytes 5-6/2000", NOW), DAY), 0, "the whole buys its slices");
    // Per fetch, slices of a version are one purchase.
    let part =
        |range: &str| UsageRecord { status: 206, content_range: Some(range.into()), ..record("/c", NOW) };
    assert_eq!(fetch(&derived, part("bytes 0-1/9"), DAY), 100);
    assert_eq!(fetch(&derived, part("bytes 2-8/9"), DAY), 0);
}

#[test]
fn a_text_that_the_ledger_cuts_names_the_same_version() {
    // The key is made at the close and again from the entry, where long texts are cut: both must be the same.
    let long = |what: &str| format!("{what}{}", "x".repeat(20_000));
    for change in [
        |record: &mut UsageRecord, long: String| record.etag = Some(long),
        |record: &mut UsageRecord, long: String| record.url = long,
        |record: &mut UsageRecord, long: String| record.operator = long,
        |record: &mut UsageRecord, long: String| {
            record.content_range = Some(long);
            (record.status, record.unit) = (206, Some("MB".into()));
        },
    ] {
        let derived = derived();
        let fetch_of = |text, hour: i64| {
            let mut record = UsageRecord { price_nano: Some(1_000_000), ..record("/a", NOW + hour * 3_600) };
            change(&mut record, text);
            fetch(&derived, record, DAY)
        };
        assert!(fetch_of(long("a"), 0) > 0);
        assert_eq!(fetch_of(long("a"), 1), 0, "the same");
        assert!(fetch_of(long("b"), 2) > 0, "another one");
        assert!(fetch_of(long("a")[..19_999].to_owned(), 3) > 0, "one that differs in what was cut");
    }
}

#[test]
fn what_was_only_quoted_makes_no_bill_free() {
    let derived = derived();
    let quoted = UsageRecord { owed: false, ..record("/a", NOW) };
    assert_eq!(fetch(&derived, quoted.clone(), DAY), 0);
    let mut again = quoted;
    let _ = derived.close(&mut again, DAY);
    assert!(again.repeat, "quoted once");
    assert_eq!(fetch(&derived, record("/a", NOW), DAY), 100, "enforcing begins: it is paid for");
    assert_eq!(fetch(&derived, record("/a", NOW), DAY), 0);
}

#[test]
fn what_is_quoted_takes_nothing_from_what_was_paid() {
    // Two rules of one operator on one URL: one charges and is free for 30 days, the other observes.
    let (derived, day) = (derived(), DAY as i64);
    let quoted = |seconds| UsageRecord { owed: false, ..record("/a", seconds) };
    assert_eq!(fetch(&derived, record("/a", NOW), 30 * DAY), 100);
    assert_eq!(fetch(&derived, quoted(NOW + 2 * day), DAY), 0);
    let mut again = quoted(NOW + 2 * day + 60);
    let _ = derived.close(&mut again, DAY);
    assert!(again.repeat, "its own quote holds for its own time");
    assert_eq!(fetch(&derived, record("/a", NOW + 3 * day), 30 * DAY), 0, "paid on the first day");

    let restarted = self::derived();
    restarted.restore(&derived.save()).unwrap();
    assert_eq!(fetch(&restarted, record("/a", NOW + 29 * day), 30 * DAY), 0, "for 30 days");
    let mut again = quoted(NOW + 3 * day - 60);
    let _ = restarted.close(&mut again, DAY);
    assert!(again.repeat, "and the quote for one");
    assert_eq!(fetch(&restarted, record("/a", NOW + 30 * day), 30 * DAY), 100);

    // Both under way at once: the quote closes later, and its record fails.
    let mut paying = record("/b", NOW);
    let _closing = derived.close(&mut paying, DAY);
    let mut quoting = quoted(NOW);
    quoting.url = "/b".into();
    quoting.etag = Some("\"v1\"".into());
    let closing = derived.close(&mut quoting, 0);
    derived.forget(closing);
    let mut third = record("/b", NOW);
    let _ = derived.close(&mut third, DAY);
    assert!(third.repeat, "the first is still under way");
}

#[test]
fn a_clock_that_was_ahead_makes_nobody_pay_twice_and_nothing_free_for_ever() {
    let (derived, year) = (derived(), 365 * DAY as i64);
    assert_eq!(fetch(&derived, record("/a", NOW + 3_600), DAY), 100);
    assert_eq!(fetch(&derived, record("/a", NOW), DAY), 0, "an hour ahead: it was paid all the same");
    assert_eq!(fetch(&derived, record("/b", NOW + year), DAY), 100);
    assert_eq!(fetch(&derived, record("/b", NOW), DAY), 100, "a year ahead: not free until then");
    assert_eq!(fetch(&derived, record("/b", NOW + 60), DAY), 0);
    let restarted = self::derived();
    restarted.restore(&derived.save()).unwrap();
    assert_eq!(fetch(&restarted, record("/b", NOW + 60), DAY), 0);
}

#[test]
fn of_fetches_that_close_at_once_one_pays() {
    let derived = derived();
    let paying = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..500 {
                    let mut record = record(&format!("/{number}"), NOW);
                    let _closing = derived.close(&mut record, DAY);
                    if !record.repeat {
                        paying.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        derived.observe(0, &record.encode());
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                self::derived().restore(&derived.save()).unwrap();
            }
        });
    });
    assert_eq!(paying.into_inner(), 500);
}

#[test]
fn a_hang_up_buys_nothing_and_a_failed_append_neither() {
    let derived = derived();
    let aborted = UsageRecord { outcome: Outcome::Aborted, bytes: 500, ..record("/a", NOW) };
    assert_eq!(fetch(&derived, aborted, DAY), 50);
    let mut lost = record("/a", NOW);
    let closing = derived.close(&mut lost, DAY);
    assert_eq!(lost.amount_nano, 100);
    let mut meanwhile = record("/a", NOW);
    let _ = derived.close(&mut meanwhile, DAY);
    assert!(meanwhile.repeat, "a fetch at the same time is a repeat");
    derived.forget(closing);
    assert_eq!(fetch(&derived, record("/a", NOW), DAY), 100, "nothing was bought");
}

/// A policy in which the operator may owe 1,000 nano-units of a currency in a month.
fn policy_in(currency: &str) -> PolicySnapshot {
    let text = format!(
        "version = 1\ncurrency = \"{currency}\"\n\
         [[crawler]]\ntoken = \"ExampleBot\"\noperator = \"example-labs\"\npurpose = \"train\"\n\
         ranges = [\"192.0.2.0/24\"]\n\
         [[account]]\noperator = \"example-labs\"\ncredit_limit = \"0.000001 {currency}\"\n"
    );
    let source = Source { name: "policy.toml".into(), text };
    PolicySnapshot::compile(source, None, &mut |_, _| Err("no includes".into())).unwrap().0
}

#[test]
fn holds_are_given_back_and_fetches_at_once_cannot_share_what_is_left() {
    let policy = policy_in("USD");
    let derived = derived();
    let accounts = derived.accounts();
    let affords = |nano| accounts.standing(&policy, NOW).affords("example-labs", usd(nano));
    assert!(affords(1_000) && !affords(1_001));
    assert!(!accounts.standing(&policy, NOW).affords("nobody", usd(1)), "nobody to bill");
    let euro = Money { nano: 1, currency: Currency::parse("EUR").unwrap() };
    assert!(!accounts.standing(&policy, NOW).affords("example-labs", euro));

    let mut hold = accounts.try_hold(&policy, "example-labs", usd(600), NOW).expect("room");
    assert!(accounts.try_hold(&policy, "example-labs", usd(600), NOW).is_none());
    assert_eq!(accounts.held("example-labs", Currency::USD), 600);
    hold.lower(usd(100));
    assert_eq!((accounts.held("example-labs", Currency::USD), hold.nano()), (100, 100));
    assert_eq!(fetch(&derived, record("/a", NOW), DAY), 100);
    assert!(affords(800) && !affords(801), "for a moment both held and owed");
    hold.settle(100);
    assert!(affords(900) && !affords(901));
    drop(accounts.hold("example-labs", usd(500)));
    assert_eq!(accounts.held("example-labs", Currency::USD), 0);
    let next_month = NOW + 31 * DAY as i64;
    assert!(accounts.standing(&policy, next_month).affords("example-labs", usd(1_000)), "a new month");
}

#[test]
fn a_balance_is_in_its_currency() {
    let (dollars, yen) = (policy_in("USD"), policy_in("JPY"));
    let derived = derived();
    let of = |url: &str, price_nano, currency: &str| UsageRecord {
        price_nano: Some(price_nano),
        currency: currency.into(),
        ..record(url, NOW)
    };
    assert_eq!(fetch(&derived, of("/a", 900, "USD"), DAY), 900);
    let _hold = derived.accounts().hold("example-labs", usd(100));
    // The policy is in another currency from now on.
    let yens = |nano| Money { nano, currency: Currency::parse("JPY").unwrap() };
    let affords = |nano| derived.accounts().standing(&yen, NOW).affords("example-labs", yens(nano));
    assert!(affords(1_000), "dollars owed and held are no yen");
    assert_eq!(fetch(&derived, of("/b", 400, "JPY"), DAY), 400);
    assert!(affords(600) && !affords(601));
    assert!(!derived.accounts().standing(&dollars, NOW).affords("example-labs", usd(1)));

    let restarted = self::derived();
    restarted.restore(&derived.save()).unwrap();
    let standing = restarted.accounts().standing(&dollars, NOW);
    assert!(standing.affords("example-labs", usd(100)) && !standing.affords("example-labs", usd(101)));
}

#[test]
fn a_clock_that_was_ahead_leaves_credit_limits_as_they_were() {
    let policy = policy_in("USD");
    let before = derived();
    let far_ahead = NOW + 5 * 365 * DAY as i64;
    assert_eq!(fetch(&before, record("/a", NOW), DAY), 100);
    assert_eq!(fetch(&before, record("/b", far_ahead), DAY), 100);
    let after = derived();
    after.restore(&before.save()).unwrap();
    for derived in [before, after] {
        // A second operator's first amount of the month drops nobody's balance.
        let other = UsageRecord { operator: "acme-ai".into(), ..record("/c", NOW) };
        assert_eq!(fetch(&derived, other, DAY), 100);
        assert_eq!(fetch(&derived, record("/d", NOW + 60), DAY), 100);
        let standing = derived.accounts().standing(&policy, NOW + 60);
        assert!(standing.affords("example-labs", usd(800)) && !standing.affords("example-labs", usd(801)));
    }
}

#[test]
fn thirteen_months_of_balances_are_kept() {
    let derived = derived();
    let month = |number: i64| metrics::month_of((NOW + number * 31 * DAY as i64) * 1_000_000);
    for number in 0..20 {
        let record = record(&format!("/{number}"), NOW + number * 31 * DAY as i64);
        assert_eq!(fetch(&derived, record, DAY), 100);
    }
    let kept =
        (0..20).filter(|number| derived.accounts().owed("example-labs", Currency::USD, month(*number)) > 0);
    assert_eq!(kept.collect::<Vec<_>>(), (7..20).collect::<Vec<_>>(), "the newest");
}

#[test]
fn a_clock_that_was_ahead_leaves_budgets_as_they_were() {
    let policy = PolicySnapshot::observe_only();
    let before = derived();
    let hour_ahead = NOW + 3_600;
    before.accounts().register(&limit(2));
    for number in 0..2 {
        before.observe(number, &record("/a", hour_ahead).encode());
    }
    let after = derived();
    after.restore(&before.save()).unwrap();
    for derived in [before, after] {
        let accounts = derived.accounts();
        let exhausted = |now| accounts.standing(&policy, now).exhausted(&limit(2), "example-labs");
        assert_eq!(exhausted(hour_ahead), Some(60), "while the clock says so");
        assert_eq!(exhausted(NOW), None, "used up an hour from now is not used up now");
        for number in 0..2 {
            assert_eq!(exhausted(NOW), None);
            let under_way = accounts.enter(&limit(2), "example-labs", NOW);
            derived.observe(2 + number, &record("/a", NOW).encode());
            drop(under_way);
        }
        assert_eq!(exhausted(NOW), Some(60), "and it counts again");
        // A sum of long ago that comes late says nothing about the clock.
        derived.observe(4, &Rollup { minute: NOW - 3_600, ..rollup(false) }.encode());
        assert_eq!(exhausted(NOW), Some(60));
    }
}

#[test]
fn a_budget_counts_what_is_under_way_and_what_is_durable_once_each() {
    let policy = PolicySnapshot::observe_only();
    let derived = derived();
    let accounts = derived.accounts();
    let exhausted =
        |now, requests| accounts.standing(&policy, now).exhausted(&limit(requests), "example-labs");
    assert_eq!(exhausted(NOW, 1), None);
    let under_way = accounts.enter(&limit(1), "example-labs", NOW);
    assert_eq!(exhausted(NOW, 1), Some(60));
    assert_eq!(exhausted(NOW + 59, 1), Some(1));
    derived.observe(0, &record("/a", NOW).encode());
    drop(under_way);
    assert_eq!((exhausted(NOW, 1), exhausted(NOW, 2)), (Some(60), None), "once, not twice");
    assert_eq!(exhausted(NOW + 60, 1), None, "the next period");
    let bytes = Limit { requests: None, bytes: Some(1_000), ..limit(0) };
    assert!(accounts.standing(&policy, NOW).exhausted(&bytes, "example-labs").is_some());
    assert!(accounts.standing(&policy, NOW).exhausted(&bytes, "acme-ai").is_none());

    let rolled = accounts.enter(&limit(3), "example-labs", NOW);
    rolled.rolled_up(10);
    assert_eq!((exhausted(NOW, 2), exhausted(NOW, 3)), (Some(60), None), "still counted");
    derived.observe(1, &rollup(false).encode());
    assert_eq!((exhausted(NOW, 2), exhausted(NOW, 3)), (Some(60), None), "and not twice");
    derived.observe(2, &rollup(true).encode());
    assert_eq!(exhausted(NOW, 3), None, "refusals use nothing up");
}

fn rollup(refused: bool) -> Rollup {
    Rollup {
        id: "an id".into(),
        source: "//example.org/ledger".into(),
        time_micros: NOW * 1_000_000,
        minute: NOW,
        crawler: "ExampleBot".into(),
        operator: "example-labs".into(),
        purpose: "train".into(),
        assurance: "claimed".into(),
        holder: None,
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        refused,
        status: if refused { 402 } else { 200 },
        outcome: None,
        fetches: 1,
        bytes: 10,
        currency: "USD".into(),
        unit: None,
        quantity: 1,
        quote_nano: 7,
    }
}

#[test]
fn the_state_survives_a_restart_and_what_was_tentative_does_not() {
    let before = derived();
    before.accounts().register(&limit(2));
    fetch(&before, record("/a", NOW), DAY);
    before.observe(1, &rollup(true).encode());
    let mut tentative = record("/b", NOW);
    let _closing = before.close(&mut tentative, DAY);
    let _hold = before.accounts().hold("example-labs", usd(5));
    let _in_flight = before.accounts().enter(&limit(2), "example-labs", NOW);
    let saved = before.save();

    let after = derived();
    after.restore(&saved).unwrap();
    let month = metrics::month_of(NOW * 1_000_000);
    assert_eq!(after.summary(month), before.summary(month));
    assert_eq!(after.summary(month).lines[0].refused + after.summary(month).lines[1].refused, 1);
    assert_eq!(after.last().unwrap().index, 1);
    assert_eq!(after.accounts().owed("example-labs", Currency::USD, month), 100);
    assert_eq!(after.accounts().held("example-labs", Currency::USD), 0);
    let policy = PolicySnapshot::observe_only();
    let standing = after.accounts().standing(&policy, NOW);
    assert!(standing.exhausted(&limit(1), "example-labs").is_some());
    assert!(standing.exhausted(&limit(2), "example-labs").is_none(), "what was under way has no entry");
    // The tail of the ledger counts, without anybody entering first.
    after.observe(2, &record("/c", NOW).encode());
    assert!(standing.exhausted(&limit(2), "example-labs").is_some());
    assert_eq!(fetch(&after, record("/a", NOW), DAY), 0, "paid");
    assert_eq!(fetch(&after, record("/b", NOW), DAY), 100, "never durable");
}

#[test]
fn a_damaged_state_is_refused_whole() {
    let before = derived();
    fetch(&before, record("/a", NOW), DAY);
    let saved = before.save();
    let after = derived();
    for at in 0..saved.len() {
        let mut damaged = saved.clone();
        damaged[at] ^= 1;
        assert!(after.restore(&damaged).is_err(), "byte {at}");
        assert!(after.restore(&saved[..at]).is_err(), "{at} bytes");
    }
    assert_eq!(after.last(), None, "nothing was taken up");
    after.restore(&saved).unwrap();
}

fn pause(refused: u64) -> ledger::Pause {
    ledger::Pause {
        since: UNIX_EPOCH + Duration::from_secs(NOW as u64),
        duration: Duration::from_secs(9),
        refused,
        reason: "No space left on device".into(),
    }
}

/// Fetches, bytes, and from which to which second.
fn counts(gap: &Gap) -> (u64, u64, i64, i64) {
    (gap.fetches, gap.bytes, gap.since_micros / 1_000_000 - NOW, gap.until_micros / 1_000_000 - NOW)
}

#[test]
fn a_gap_says_what_passed_during_a_pause_and_counts_it_once() {
    let derived = derived();
    let mut observer = LedgerObserver(Arc::clone(&derived));
    let mut resumed = |refused| {
        let bytes = observer.resumed(&pause(refused)).unwrap();
        let Entry::Gap(gap) = Entry::parse(&bytes).unwrap() else { panic!("a gap") };
        gap
    };
    derived.unmetered(100);
    derived.unmetered(50);
    let first = resumed(3);
    assert_eq!((counts(&first), first.refused), ((2, 150, 0, 9), 3));
    // No space for it: the ledger keeps the first, and asks again after the next pause. Both are appended then.
    derived.unmetered(7);
    let second = resumed(0);
    assert_eq!((second.fetches, second.bytes, second.refused), (1, 7, 0), "the first is not in it");
    derived.observe(0, &first.encode());
    derived.observe(1, &second.encode());
    assert_eq!(derived.take_gap((NOW + 20) * 1_000_000), None);
}

#[test]
fn what_passed_without_a_pause_is_in_a_gap_of_its_own_once() {
    let derived = derived();
    let take = |seconds| derived.take_gap((NOW + seconds) * 1_000_000);
    assert_eq!(take(-10), None);
    assert_eq!(take(-5), None);
    derived.unmetered(100);
    derived.unmetered(50);
    let lost = take(-4).unwrap();
    assert_eq!((counts(&lost), lost.refused), ((2, 150, -5, -4), 0));
    assert_eq!(take(-3), None, "it was taken");
    derived.unmetered(7);
    derived.give_back(&lost);
    let both = take(-2).unwrap();
    assert_eq!(counts(&both), (3, 157, -5, -2), "it could not be appended: in the next one");
    assert_ne!(both.id, lost.id);
    derived.observe(0, &both.encode());
    assert_eq!(take(-1), None, "once it is durable it is not in another one");

    // A pause takes up what was given back before it, and leaves nothing behind.
    derived.unmetered(1);
    derived.give_back(&derived.take_gap(NOW * 1_000_000 - 500_000).unwrap());
    derived.unmetered(2);
    let bytes = LedgerObserver(Arc::clone(&derived)).resumed(&pause(0)).unwrap();
    let Entry::Gap(gap) = Entry::parse(&bytes).unwrap() else { panic!("a gap") };
    assert_eq!(counts(&gap), (2, 3, -1, 9));
    derived.unmetered(5);
    assert_eq!(counts(&take(10).unwrap()), (1, 5, 9, 10));
}

#[test]
fn entries_that_cannot_be_read_are_counted_and_change_nothing() {
    let derived = derived();
    derived.observe(0, b"not an event");
    derived.observe(1, br#"{"type":"ai.usage.later.v1"}"#);
    assert_eq!((derived.unreadable(), derived.last().unwrap().index), (1, 1));
}

#[test]
fn the_list_of_works_keeps_the_heavy_ones() {
    let derived = derived();
    for round in 0..30 {
        for light in 0..100 {
            derived.observe(0, &record(&format!("/light/{round}/{light}"), NOW).encode());
        }
        for heavy in 0..5 {
            for _ in 0..20 {
                derived.observe(0, &record(&format!("/heavy/{heavy}"), NOW).encode());
            }
        }
    }
    let works = derived.summary(metrics::month_of(NOW * 1_000_000)).works;
    for (work, heavy) in works.iter().zip(0..5) {
        assert_eq!(work.work, format!("/heavy/{heavy}"));
        assert!(work.fetches - work.error <= 600 && work.fetches >= 600, "{work:?}");
    }
}

#[test]
fn a_million_keys_are_kept_saved_and_restored_and_the_oldest_goes_first() {
    use billing::repeat::{Repeats, Version};
    // Keys are inserted through the ledger's side in one test only: parsing a million entries takes its time.
    let repeats = Repeats::new();
    let version = |number: usize| {
        let mut record = record("/a", NOW + (number / 1_000) as i64);
        record.etag = Some(number.to_string());
        record.quote_nano = 1;
        record
    };
    for number in 0..KEYS_MAX + 10 {
        repeats.insert_durable(&Version::of(&version(number)).unwrap(), true);
    }
    assert_eq!(repeats.len(), KEYS_MAX);
    let known = |repeats: &Repeats, number| {
        let version = Version::of(&version(number)).unwrap();
        let known = repeats.check_and_insert(&version, DAY);
        repeats.forget(&version);
        known
    };
    assert!(!known(&repeats, 9) && known(&repeats, 10) && known(&repeats, KEYS_MAX));
    let mut saved = Vec::new();
    repeats.save(&mut saved);
    assert_eq!(saved.len(), KEYS_MAX * 24);
    let restored = Repeats::restore(&saved).unwrap();
    assert!(!known(&restored, 9) && known(&restored, 10));
    let mut again = Vec::new();
    restored.save(&mut again);
    assert!(again == saved, "the order is kept");
}

#[test]
fn accounts_are_shared_by_threads() {
    let accounts: Arc<Accounts> = Arc::new(Accounts::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    let hold = accounts.hold("example-labs", usd(3));
                    let entered = accounts.enter(&limit(9), "example-labs", NOW);
                    drop((hold, entered));
                }
            });
        }
    });
    assert_eq!(accounts.held("example-labs", Currency::USD), 0);
    let policy = PolicySnapshot::observe_only();
    assert_eq!(accounts.standing(&policy, NOW).exhausted(&limit(1), "example-labs"), None);
}

#[test]
fn what_paid_for_a_fetch_pays_for_no_other_after_a_restart() {
    let key = |number: u8| SpendKey { digest: [number; 32], until: 2_000 };
    let paid_with = |number: u8| {
        let authorisation = Some(key(number).to_string());
        UsageRecord { authorisation, ..record(&format!("https://example.org/{number}"), 1_000) }
    };
    let derived = Derived::new("//example.org/ledger");
    let spending = derived.spend(key(1), 1_000).expect("it is new");
    let mut paid = paid_with(1);
    let closing = derived.close(&mut paid, 0);
    assert!(paid.amount_nano > 0);
    derived.observe(0, &paid.encode());
    let _ = closing;
    drop(spending);
    assert_eq!(derived.spend(key(1), 1_000).err(), Some(SpendError::Spent));

    // What cost nothing used nothing up.
    derived.observe(1, &UsageRecord { amount_nano: 0, ..paid_with(2) }.encode());
    assert!(derived.spend(key(2), 1_000).is_ok());

    let restored = Derived::new("//example.org/ledger");
    restored.restore(&derived.save()).expect("what was saved");
    assert_eq!(restored.spend(key(1), 1_000).err(), Some(SpendError::Spent));
    let replayed = Derived::new("//example.org/ledger");
    replayed.observe(0, &paid.encode());
    assert_eq!(replayed.spend(key(1), 1_000).err(), Some(SpendError::Spent));
}
