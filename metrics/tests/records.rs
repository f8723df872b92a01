//! Records: one canonical text each, read back as they were.

use metrics::{Entry, Gap, NodeStart, Outcome, PaymentRecord, PaymentState, PolicyPart, Rollup, UsageRecord};
use proptest::option;
use proptest::prelude::*;

/// The bytes that an entry may have.
const ENTRY_BYTES_MAX: usize = 65_535;

fn example() -> UsageRecord {
    UsageRecord {
        id: "019aab3c-7a11-7cc3-98c4-dc0c0c07398f".into(),
        source: "//example.org/ledger".into(),
        time_micros: 1_795_354_805_123_456,
        crawler: "ExampleBot".into(),
        operator: "example-labs".into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "range policy".into(),
        method: "GET".into(),
        url: "https://example.org/articles/1".into(),
        work: "example.org/articles/1".into(),
        holder: Some("example-press".into()),
        licence: Some("https://example.org/licence".into()),
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        verdict: "charge".into(),
        authorisation: None,
        settlement: None,
        would_refuse: None,
        status: 200,
        outcome: Outcome::Complete,
        bytes: 48_213,
        declared_bytes: Some(48_213),
        digest: Some("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:".into()),
        etag: Some("\"a\\b\"".into()),
        content_range: None,
        content_type: Some("text/html".into()),
        words: None,
        words_capped: false,
        currency: "USD".into(),
        unit: Some("fetch".into()),
        price_nano: Some(2_000_000),
        max_nano: None,
        quantity: 1,
        repeat: false,
        owed: true,
        quote_nano: 2_000_000,
        amount_nano: 2_000_000,
    }
}

#[test]
fn the_example_of_the_documentation() {
    let text = String::from_utf8(example().encode()).unwrap();
    let expected = concat!(
        r#"{"data":{"amount_nano":"2000000","assurance":"network","bytes":48213,"ccy":"USD","#,
        r#""content_type":"text/html","crawler":"ExampleBot","declared_bytes":48213,"#,
        r#""digest":"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:","etag":"\"a\\b\"","#,
        r#""evidence":"range policy","holder":"example-press","licence":"https://example.org/licence","#,
        r#""method":"GET","operator":"example-labs","outcome":"complete","owed":true,"policy":"sha256:00","#,
        r#""price_nano":"2000000","purpose":"train","qty":"1","quote_nano":"2000000","repeat":false,"#,
        r#""rule":"training pays","status":200,"unit":"fetch","url":"https://example.org/articles/1","#,
        r#""verdict":"charge","work":"example.org/articles/1"},"datacontenttype":"application/json","#,
        r#""id":"019aab3c-7a11-7cc3-98c4-dc0c0c07398f","source":"//example.org/ledger","specversion":"1.0","#,
        r#""subject":"example-labs","time":"2026-11-22T13:40:05.123456Z","type":"ai.usage.fetch.v1"}"#,
    );
    assert_eq!(text, expected);
    let documentation = include_str!("../../docs/record-v1.md");
    assert!(documentation.contains(expected), "docs/record-v1.md shows this record");
}

#[test]
fn every_field_is_documented() {
    let mut record = example();
    record.content_range = Some("bytes 0-1/2".into());
    record.words = Some(3);
    record.words_capped = true;
    record.max_nano = Some(1);
    record.would_refuse = Some(402);
    record.authorisation = Some("00 1".into());
    record.settlement = Some("x402 eip155:8453 0x00".into());
    let documentation = include_str!("../../docs/record-v1.md");
    let mut keys = Vec::new();
    for bytes in [record.encode(), rollup().encode(), gap().encode(), start().encode(), part("x").encode()] {
        let event: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        keys.extend(event.as_object().unwrap().keys().cloned());
        keys.extend(event["data"].as_object().unwrap().keys().cloned());
    }
    for key in keys {
        assert!(documentation.contains(&format!("| `{key}` |")), "docs/record-v1.md lacks `{key}`");
    }
}

#[test]
fn texts_that_are_too_long_are_cut_and_the_entry_always_fits() {
    // Every text field as long as it gets, of the character that takes the most room.
    let long = "\u{1}".repeat(100_000);
    let text = || long.clone();
    let mut record = example();
    for field in [
        &mut record.id,
        &mut record.source,
        &mut record.crawler,
        &mut record.operator,
        &mut record.purpose,
        &mut record.assurance,
        &mut record.evidence,
        &mut record.method,
        &mut record.url,
        &mut record.work,
        &mut record.policy,
        &mut record.rule,
        &mut record.verdict,
        &mut record.currency,
    ] {
        *field = text();
    }
    for field in [
        &mut record.holder,
        &mut record.licence,
        &mut record.digest,
        &mut record.etag,
        &mut record.content_range,
        &mut record.content_type,
        &mut record.unit,
        &mut record.authorisation,
        &mut record.settlement,
    ] {
        *field = Some(text());
    }
    (record.words, record.declared_bytes, record.bytes) = (Some(u64::MAX), Some(u64::MAX), u64::MAX);
    (record.price_nano, record.max_nano) = (Some(i64::MIN), Some(i64::MIN));
    (record.quantity, record.would_refuse, record.words_capped) = (u64::MAX, Some(u16::MAX), true);
    let bytes = record.encode();
    assert!(bytes.len() <= ENTRY_BYTES_MAX, "{} bytes", bytes.len());
    let read = UsageRecord::parse(&bytes).unwrap();
    assert!(read.url.contains("…~"), "the cut is marked");
    assert!(read.encode() == bytes, "what was cut is not cut again");
}

#[test]
fn what_is_not_a_record_is_refused() {
    let good = String::from_utf8(example().encode()).unwrap();
    for (from, to) in [
        ("ai.usage.fetch.v1", "ai.usage.fetch.v2"),
        ("\"specversion\":\"1.0\"", "\"specversion\":\"0.3\""),
        ("\"bytes\":48213", "\"bytes\":-1"),
        ("\"bytes\":48213", "\"bytes\":1.5"),
        ("\"status\":200", "\"status\":70000"),
        ("\"amount_nano\":\"2000000\"", "\"amount_nano\":2000000"),
        ("\"amount_nano\":\"2000000\"", "\"amount_nano\":\"+2000000\""),
        ("\"amount_nano\":\"2000000\"", "\"amount_nano\":\"9223372036854775808\""),
        ("\"outcome\":\"complete\"", "\"outcome\":\"done\""),
        ("2026-11-22T13", "2026-11-22 13"),
        ("\"crawler\":\"ExampleBot\",", ""),
        ("{\"data\"", "{\"date\""),
    ] {
        assert!(good.contains(from), "{from}");
        let bad = good.replace(from, to);
        assert!(UsageRecord::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    for bytes in [&b""[..], b"{}", b"[]", b"null", &[0xff; 4], &good.as_bytes()[..good.len() - 1]] {
        assert!(UsageRecord::parse(bytes).is_err());
        assert!(Entry::parse(bytes).is_err());
    }
    let newer = good.replace("\"assurance\":", "\"added_later\":{\"x\":[1]},\"assurance\":");
    assert_eq!(UsageRecord::parse(newer.as_bytes()).unwrap(), example(), "unknown keys are ignored");
}

#[test]
fn entries_are_told_apart() {
    assert_eq!(Entry::parse(&example().encode()).unwrap(), Entry::Fetch(Box::new(example())));
    assert_eq!(Entry::parse(&rollup().encode()).unwrap(), Entry::Rollup(Box::new(rollup())));
    assert_eq!(Entry::parse(&gap().encode()).unwrap(), Entry::Gap(gap()));
    assert_eq!(Entry::parse(&start().encode()).unwrap(), Entry::Start(start()));
    assert_eq!(Entry::parse(&part("x").encode()).unwrap(), Entry::Policy(part("x")));
    for state in PaymentState::ALL {
        let entry = payment(state).encode();
        assert_eq!(Entry::parse(&entry).unwrap(), Entry::Payment(Box::new(payment(state))));
        let value: serde_json::Value = serde_json::from_slice(&entry).unwrap();
        let canonical = serde_json_canonicalizer::to_vec(&value).unwrap();
        assert_eq!(String::from_utf8(entry).unwrap(), String::from_utf8(canonical).unwrap());
    }
    let unknown = br#"{"data":{},"type":"ai.usage.period-seal.v1"}"#;
    let expected = Entry::Unknown { kind: "ai.usage.period-seal.v1".into() };
    assert_eq!(Entry::parse(unknown).unwrap(), expected);
}

#[test]
fn a_policy_is_split_into_entries_and_joined_again() {
    let long = "é\n\"\u{1}".repeat(40_000);
    let sources = [("policy.toml", long.as_str()), ("preset:news", ""), ("preset:docs", "version = 1\n")];
    let mut number = 0;
    let mut id = || {
        number += 1;
        format!("part {number}")
    };
    let parts = PolicyPart::split("//example.org/ledger", 7, "sha256:00", "observe", sources, &mut id);
    assert!(parts.len() > 3);
    let mut joined: Vec<(String, String)> = Vec::new();
    for (part, number) in parts.iter().zip(1..) {
        assert_eq!((part.part, part.parts as usize), (number, parts.len()));
        let bytes = part.encode();
        assert!(bytes.len() <= 60_000, "{} bytes", bytes.len());
        let read = PolicyPart::parse(&bytes).unwrap();
        assert_eq!(&read, part);
        match joined.last_mut() {
            Some((name, text)) if *name == read.name => text.push_str(&read.text),
            _ => joined.push((read.name, read.text)),
        }
    }
    let expected: Vec<(String, String)> =
        sources.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    assert_eq!(joined, expected);
    let none = PolicyPart::split("//example.org/ledger", 7, "sha256:00", "observe", [], &mut id);
    assert_eq!(none.len(), 1, "a policy without a text has its digest in the log, too");
}

fn rollup() -> Rollup {
    Rollup {
        id: "019aab3c-7a11-7cc3-98c4-dc0c0c073990".into(),
        source: "//example.org/ledger".into(),
        time_micros: 1_795_354_865_000_000,
        minute: 1_795_354_800,
        crawler: "ExampleBot".into(),
        operator: "spoof".into(),
        purpose: "train".into(),
        assurance: "claimed".into(),
        holder: Some("example-press".into()),
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        refused: false,
        status: 200,
        outcome: Some(Outcome::Aborted),
        fetches: 3,
        bytes: 30,
        currency: "USD".into(),
        unit: Some("MB".into()),
        quantity: 30,
        quote_nano: i128::from(i64::MAX) * 3,
    }
}

fn gap() -> Gap {
    let mut gap = Gap {
        id: String::new(),
        source: "//example.org/ledger".into(),
        time_micros: 1_795_354_865_000_000,
        since_micros: 1_795_354_805_000_000,
        until_micros: 1_795_354_865_000_000,
        fetches: 5,
        bytes: 6,
        refused: 7,
        reason: "No space left on device".into(),
    };
    gap.id = gap.derive_id();
    gap
}

fn start() -> NodeStart {
    NodeStart {
        id: "an id".into(),
        source: "//example.org/ledger".into(),
        time_micros: 0,
        version: "0.1.0".into(),
    }
}

fn payment(state: PaymentState) -> PaymentRecord {
    let (source, time_micros) = (example().source, 1_795_354_865_000_000);
    // The envelope of what it pays for is the payment's own, but for the identifier.
    let fetch = UsageRecord { source: source.clone(), time_micros, ..example() };
    PaymentRecord {
        id: "an id".into(),
        source,
        time_micros,
        state,
        authorisation: "00 1".into(),
        signed: "01".into(),
        network: "eip155:8453".into(),
        asset: "0x02".into(),
        value: "10000".into(),
        payer: "0x03".into(),
        nonce: "0x04".into(),
        identifier: (state == PaymentState::Settled).then(|| "example.org pay_1".into()),
        payload: (state == PaymentState::Settled).then(|| "05".into()),
        reason: (state == PaymentState::Failed).then(|| "insufficient_funds".into()),
        fetch: Box::new(fetch),
    }
}

fn part(text: &str) -> PolicyPart {
    PolicyPart {
        id: "an id".into(),
        source: "//example.org/ledger".into(),
        time_micros: 0,
        policy: "sha256:00".into(),
        mode: "enforce".into(),
        name: "policy.toml".into(),
        part: 1,
        parts: 1,
        text: text.into(),
    }
}

#[test]
fn a_gaps_id_follows_from_the_gap() {
    let (one, other) = (gap(), Gap { until_micros: gap().until_micros + 1, ..gap() });
    assert_eq!(one.derive_id(), gap().derive_id());
    assert_ne!(one.derive_id(), other.derive_id());
    let id = one.derive_id();
    assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
}

prop_compose! {
    fn texts()(short in proptest::collection::vec("\\PC{0,20}|[\u{0}-\u{1f}\"\\\\\u{7f}\u{2028}]{0,9}", 15),
               long in "\\PC{0,400}") -> (Vec<String>, String) {
        (short, long)
    }
}

prop_compose! {
    fn records()(
        (texts, url) in texts(),
        optional in proptest::collection::vec(option::of("\\PC{0,20}"), 9),
        numbers in proptest::collection::vec(0u64..(1 << 53), 2),
        quantity in any::<u64>(),
        (declared_bytes, words) in (option::of(0u64..(1 << 53)), option::of(0u64..(1 << 53))),
        (price_nano, max_nano) in (option::of(any::<i64>()), option::of(any::<i64>())),
        (quote_nano, amount_nano) in (any::<i64>(), any::<i64>()),
        (words_capped, repeat, owed) in any::<(bool, bool, bool)>(),
        (status, would_refuse) in (any::<u16>(), option::of(any::<u16>())),
        outcome in 0usize..5,
        time_micros in -62_167_219_200_000_000i64..253_402_300_800_000_000,
    ) -> UsageRecord {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap();
        let mut optional = optional.into_iter();
        let mut option = || optional.next().unwrap();
        UsageRecord {
            id: text(), source: text(), time_micros, crawler: text(), operator: text(), purpose: text(),
            assurance: text(), evidence: text(), authorisation: option(), settlement: option(), method: text(), url, work: text(), holder: option(),
            licence: option(), policy: text(), rule: text(), verdict: text(), would_refuse, status,
            outcome: Outcome::ALL[outcome], bytes: numbers[0], declared_bytes, digest: option(), etag: option(),
            content_range: option(), content_type: option(), words, words_capped, currency: text(),
            unit: option(), price_nano, max_nano, quantity, repeat, owed, quote_nano, amount_nano,
        }
    }
}

proptest! {
    #[test]
    fn a_record_is_canonical_and_comes_back(record in records()) {
        let bytes = record.encode();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let canonical = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(String::from_utf8(bytes.clone()).unwrap(), String::from_utf8(canonical).unwrap());
        prop_assert_eq!(UsageRecord::parse(&bytes).unwrap(), record);
    }

    #[test]
    fn a_rollup_is_canonical_and_comes_back(
        name in "\\PC{0,20}", fetches in 0u64..(1 << 53), quantity in any::<u64>(), quote_nano in any::<i128>(),
        minute in 0i64..100_000_000, refused in any::<bool>(), holder in option::of("\\PC{0,20}"),
    ) {
        let sums = Rollup { crawler: name, fetches, quantity, quote_nano, refused, holder,
            minute: minute * 60, outcome: None, ..rollup() };
        let bytes = sums.encode();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&bytes, &serde_json_canonicalizer::to_vec(&value).unwrap());
        prop_assert_eq!(Rollup::parse(&bytes).unwrap(), sums);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<usize>()) {
        let _ = Entry::parse(&bytes);
        let mut damaged = example().encode();
        let at = at % damaged.len();
        damaged.splice(at..at, bytes);
        let _ = Entry::parse(&damaged);
    }
}
