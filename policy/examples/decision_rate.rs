//! How long a decision takes: `cargo run --release -p byline-policy --example decision_rate`.
//!
//! Fifty rules of the usual kinds, a fetch that only the last of them matches, both decisions.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a stopwatch; the crate itself reads no clock"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use policy::{
    Admission, Evidence, Limit, Money, Offer, PolicySnapshot, ResponseHead, Source, Standing, admit,
    identify, release,
};

const RULES: usize = 50;
const DECISIONS: u32 = 2_000_000;

struct Untouched;

impl Standing for Untouched {
    fn exhausted(&self, _limit: &Limit, _operator: &str) -> Option<u64> {
        None
    }

    fn affords(&self, _operator: &str, _amount: Money) -> bool {
        true
    }
}

fn main() {
    let mut text = String::from(
        "version = 1\nmode = \"enforce\"\n[[account]]\noperator = \"openai\"\ncredit_limit = \"1 USD\"\n",
    );
    for index in 0..RULES - 1 {
        let condition = match index % 5 {
            0 => format!("path = \"/section-{index}/**\""),
            1 => format!("path = \"/articles/{index}/*.html\""),
            2 => format!("host = \"site-{index}.example\""),
            3 => "crawler = \"ClaudeBot\"\npath = \"/articles/**\"".to_owned(),
            _ => "purpose = \"search\"\npath = \"/articles/2026/**\"".to_owned(),
        };
        writeln!(text, "[[rule]]\nname = \"r{index}\"\n{condition}\ndeny = true")
            .expect("a String takes everything");
    }
    text.push_str("[[rule]]\nname = \"last\"\ncharge = { price = \"0.002 USD\", per = \"fetch\" }\n");
    let source = Source { name: "bench".to_owned(), text };
    let (policy, _) =
        PolicySnapshot::compile(source, None, &mut |_, _| Err(String::new())).expect("a policy");
    let row = Arc::clone(policy.directory().row("GPTBot").expect("GPTBot is in the registry"));
    let crawler = identify(row, Evidence::Range { source: Arc::from("bench") });
    let offer = Offer::parse(["USD 0.01"], [""; 0]);
    let head = ResponseHead {
        status: 200,
        content_type: Some("text/html"),
        content_length: Some(10_000),
        ..ResponseHead::default()
    };

    let started = Instant::now();
    for _ in 0..DECISIONS {
        black_box(
            policy
                .work("https", "www.example.com", black_box("/articles/2026/11/a-title-of-usual-length"))
                .ok(),
        );
    }
    report("work", started);

    let work =
        policy.work("https", "www.example.com", "/articles/2026/11/a-title-of-usual-length").expect("a path");
    let started = Instant::now();
    for _ in 0..DECISIONS {
        black_box(admit(&policy, &crawler, black_box(&work), &offer, &Untouched));
    }
    report("admit", started);

    let Admission::Proceed(grant) = admit(&policy, &crawler, &work, &offer, &Untouched) else {
        panic!("the offer covers the price")
    };
    let started = Instant::now();
    for _ in 0..DECISIONS {
        black_box(release(&policy, &grant, &crawler, black_box(&work), &offer, &Untouched, &head));
    }
    report("release", started);
}

fn report(what: &str, started: Instant) {
    println!(
        "{what:8} {:7.1} ns of {RULES} rules",
        started.elapsed().as_nanos() as f64 / f64::from(DECISIONS)
    );
}
