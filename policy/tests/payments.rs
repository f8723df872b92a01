//! What is offered for a work is what would be taken for it: the price, to the last unit, of whoever may pay it so.

use policy::payment::Offered;
use policy::protocol::x402::Version;
use policy::protocol::x402::offer::Token;
use policy::{
    Admission, Assurance, Crawler, Currency, Evidence, Limit, Money, Offer, PolicySnapshot, RefusalKind,
    Release, ResponseHead, Source, Standing, Work, admit, identify, release,
};

const TEXT: &str = include_str!("../testdata/policy/good/payments.toml");

/// Nobody has an account here, and nothing is used up.
struct Nobody;

impl Standing for Nobody {
    fn exhausted(&self, _: &Limit, _: &str) -> Option<u64> {
        None
    }

    fn affords(&self, _: &str, _: Money) -> bool {
        false
    }
}

fn policy(rules: &str) -> PolicySnapshot {
    let ways =
        TEXT.split("[[rule]]").next().expect("a text").replace("currency", "mode = \"enforce\"\ncurrency");
    let ways =
        ways.replacen("mode = \"enforce\"\ncurrency = \"USD\"\npay_to", "currency = \"USD\"\npay_to", 1);
    let source = Source { name: "policy.toml".to_owned(), text: format!("{ways}{rules}") };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing".to_owned())) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{}", policy::render(&errors)),
    }
}

fn rule(more: &str) -> String {
    format!("[[rule]]\nname = \"r{}\"\npath = \"/articles/**\"\n{more}\n", more.len())
}

fn crawler(policy: &PolicySnapshot, evidence: Evidence) -> Crawler {
    let row = policy.directory().row("GPTBot").expect("a crawler");
    identify(row.clone(), evidence)
}

fn work(policy: &PolicySnapshot) -> Work {
    policy.work("https", "press.example", "/articles/1").expect("a work")
}

fn usd(nano: i64) -> Money {
    Money { nano, currency: Currency::USD }
}

fn offered(policy: &PolicySnapshot) -> Option<Offered> {
    policy.offered(&crawler(policy, Evidence::None), &work(policy), &|_, _| true)
}

#[test]
fn a_price_that_is_known_beforehand_is_offered_in_every_way_that_expresses_it() {
    for (price, x402, cents) in [("0.01", true, true), ("0.002", true, false), ("0.0000015", false, false)] {
        let policy = policy(&rule(&format!("charge = {{ price = \"{price} USD\", per = \"fetch\" }}")));
        let offered = offered(&policy);
        let ways = offered.as_ref().and_then(|it| it.v2.as_ref()).map_or(0, |offers| offers.ways.len());
        assert_eq!(ways, usize::from(x402) * 2 + usize::from(cents), "{price}");
        assert_eq!(offered.as_ref().is_some_and(|it| !it.mpp.is_empty()), cents, "{price}");
        if let Some(offered) = offered {
            assert!(offered.v1.is_none(), "it has no place for the identifier that is required");
            assert!(offered.requires_identifier);
        }
    }
}

#[test]
fn what_is_not_known_beforehand_is_not_offered() {
    for (what, rules) in [
        ("nothing", String::new()),
        ("free", rule("allow = true")),
        ("denied", rule("deny = true")),
        ("observed", rule("charge = { price = \"0.01 USD\", per = \"fetch\" }\nmode = \"observe\"")),
        ("by quantity", rule("charge = { price = \"0.01 USD\", per = \"MB\", max = \"1 USD\" }")),
        ("by words", rule("charge = { price = \"0.01 USD\", per = \"1000 words\", max = \"1 USD\" }")),
        (
            "by the origin",
            rule("charge = { price = \"0.01 USD\", per = \"fetch\", origin_price = true, max = \"1 USD\" }"),
        ),
        (
            "by the content type",
            rule("content_type = \"text/html\"\ncharge = { price = \"0.01 USD\", per = \"fetch\" }")
                + &rule("charge = { price = \"0.02 USD\", per = \"fetch\" }"),
        ),
    ] {
        assert_eq!(offered(&policy(&rules)), None, "{what}");
    }
    // The same price for all content types that cost anything is known.
    let some = rule("content_type = \"image/*\"\nallow = true")
        + &rule("charge = { price = \"0.01 USD\", per = \"fetch\" }");
    assert_eq!(offered(&policy(&some)).map(|it| it.fixed.price), Some(usd(10_000_000)));
}

#[test]
fn a_way_that_is_not_settled_now_is_not_offered() {
    let policy = policy(&rule("charge = { price = \"0.01 USD\", per = \"fetch\" }"));
    let on_optimism = |token: &Token, version: Version| token.chain_id == 10 && version == Version::V2;
    let offered = policy.offered(&crawler(&policy, Evidence::None), &work(&policy), &on_optimism);
    let v2 = offered.and_then(|it| it.v2).expect("two ways are left");
    let networks: Vec<&str> = v2.ways.iter().map(|way| way.requirements.network.as_str()).collect();
    assert_eq!(networks, ["eip155:10", "cloudflare:402"]);
}

#[test]
fn who_pays_at_once_needs_no_account_and_no_name() {
    let policy = policy(&rule("charge = { price = \"0.01 USD\", per = \"fetch\" }"));
    let work = work(&policy);
    let spoof = Evidence::Contradicted { by: "range".into() };
    for evidence in [Evidence::None, spoof] {
        let crawler = crawler(&policy, evidence);
        for (amount, pays) in [(10_000_000, true), (9_999_999, false), (10_000_001, false)] {
            let offer = Ok(Offer::Prepaid(usd(amount)));
            match admit(&policy, &crawler, &work, &offer, &Nobody) {
                Admission::Proceed(grant) => {
                    assert!(pays, "{amount}");
                    assert_eq!((grant.ceiling, grant.prepaid), (None, Some(usd(amount))), "nothing is held");
                    let head = ResponseHead { status: 200, ..ResponseHead::default() };
                    let Release::Deliver(terms) =
                        release(&policy, &grant, &crawler, &work, &offer, &Nobody, &head)
                    else {
                        panic!("it is paid for");
                    };
                    assert!(terms.owed && terms.charge.is_some());
                }
                Admission::Refuse(refusal) => {
                    assert!(!pays, "{amount}");
                    assert_eq!(refusal.kind, RefusalKind::PaymentRequired);
                }
            }
        }
    }
}

#[test]
fn a_signature_that_a_rule_asks_for_is_not_bought() {
    let policy = policy(&rule("require = \"signed\"\ncharge = { price = \"0.01 USD\", per = \"fetch\" }"));
    let work = work(&policy);
    let crawler = crawler(&policy, Evidence::None);
    assert_eq!(crawler.assurance, Assurance::Claimed);
    let offered = policy.offered(&crawler, &work, &|_, _| true).expect("on credit");
    let ways = offered.v2.expect("on credit").ways;
    assert_eq!((ways.len(), ways[0].requirements.network.as_str()), (1, "cloudflare:402"));
    let offer = Ok(Offer::Prepaid(usd(10_000_000)));
    let Admission::Refuse(refusal) = admit(&policy, &crawler, &work, &offer, &Nobody) else {
        panic!("who does not sign gets nothing here");
    };
    assert_eq!((refusal.kind, refusal.status()), (RefusalKind::IdentityRequired, 400));
}
