//! What every preset promises, whatever else is in it.

use std::sync::Arc;

use policy::{
    Admission, Class, Evidence, Limit, Mode, Money, Offer, PolicySnapshot, Purpose, RefusalKind, Release,
    ResponseHead, Source, Standing, Terms, Verdict, admit, identify, release,
};

struct Untouched;

impl Standing for Untouched {
    fn exhausted(&self, _limit: &Limit, _operator: &str) -> Option<u64> {
        None
    }

    fn affords(&self, _operator: &str, _amount: Money) -> bool {
        true
    }
}

fn preset(name: &str) -> PolicySnapshot {
    let text = format!(
        "version = 1\nbase_price = \"0.004 EUR\"\ncurrency = \"EUR\"\ninclude = [\"preset:{name}\"]\n\
         [[crawler]]\ntoken = \"TrainBot\"\noperator = \"a\"\npurpose = \"train\"\n\
         [[crawler]]\ntoken = \"AskBot\"\noperator = \"a\"\npurpose = \"ground\"\n"
    );
    let source = Source { name: "test".to_owned(), text };
    match PolicySnapshot::compile(source, Some(Mode::Enforce), &mut |_, _| Err("none".to_owned())) {
        Ok((policy, warnings)) => {
            assert!(warnings.is_empty(), "{}", policy::render(&warnings));
            policy
        }
        Err(errors) => panic!("{}", policy::render(&errors)),
    }
}

/// The terms of a fetch from the operator's own network with a generous offer, or how it is refused.
fn ask(policy: &PolicySnapshot, token: &str, path: &str, offer: Option<&str>) -> Result<Terms, RefusalKind> {
    let row = Arc::clone(policy.directory().row(token).expect("a known token"));
    let crawler = identify(row, Evidence::Range { source: Arc::from("test") });
    let work = policy.work("https", "example.com", path).expect("a plain path");
    let offer = Offer::parse(offer, [""; 0]);
    let grant = match admit(policy, &crawler, &work, &offer, &Untouched) {
        Admission::Refuse(refusal) => return Err(refusal.kind),
        Admission::Proceed(grant) => grant,
    };
    let head = ResponseHead {
        status: 200,
        content_type: Some("text/html"),
        content_length: Some(20_000),
        ..ResponseHead::default()
    };
    match release(policy, &grant, &crawler, &work, &offer, &Untouched, &head) {
        Release::Refuse(refusal) => Err(refusal.kind),
        Release::Deliver(terms) => Ok(terms),
    }
}

#[test]
fn nobody_but_ai_crawlers_is_touched() {
    for name in ["news", "docs", "shop"] {
        let policy = preset(name);
        let others: Vec<_> =
            policy.directory().rows().iter().filter(|row| row.class != Class::Ai).cloned().collect();
        assert!(
            others.iter().any(|row| row.class == Class::SearchEngine),
            "the registry knows search engines"
        );
        for row in others {
            for path in ["/", "/articles/1", "/picture.jpg", "/cart", "/all.zip"] {
                let terms = ask(&policy, &row.token, path, None).expect("delivered");
                let is = (&*terms.rule, terms.verdict, terms.charge, terms.limit);
                assert_eq!(is, ("default", Verdict::Allow, None, None), "{name}: {} {path}", row.token);
            }
        }
    }
}

#[test]
fn robots_and_sitemaps_are_free_for_everybody() {
    for name in ["news", "docs", "shop"] {
        let policy = preset(name);
        for path in ["/robots.txt", "/sitemap.xml", "/llms.txt"] {
            assert_eq!(&*ask(&policy, "TrainBot", path, None).expect("delivered").rule, "always-free");
        }
    }
}

#[test]
fn training_pays_in_each_and_is_told_so_before_the_origin_is_asked() {
    for (name, path) in [("news", "/articles/1"), ("docs", "/guide/1"), ("shop", "/p/1")] {
        let policy = preset(name);
        assert_eq!(ask(&policy, "TrainBot", path, None), Err(RefusalKind::PaymentRequired), "{name}");
        let refused = ask(&policy, "TrainBot", path, Some("EUR 1"));
        assert_eq!(
            refused,
            Err(RefusalKind::NoCredit),
            "{name}: the price is agreed, but there is no account"
        );
    }
}

#[test]
fn presets_say_what_they_say() {
    let verdict = |name: &str, token: &str, path: &str| match ask(&preset(name), token, path, None) {
        Ok(terms) if terms.limit.is_some() => "within a budget",
        Ok(_) => "free",
        Err(RefusalKind::Denied) => "denied",
        Err(_) => "for money",
    };
    for (name, token, path, expect) in [
        ("news", "TrainBot", "/", "free"),
        ("news", "TrainBot", "/feed/", "free"),
        ("news", "TrainBot", "/sport/feed/", "free"),
        ("news", "TrainBot", "/style/site.css", "free"),
        ("news", "TrainBot", "/a/photo.jpg", "denied"),
        ("news", "AskBot", "/a/photo.jpg", "for money"),
        ("news", "AskBot", "/a/1", "for money"),
        ("docs", "AskBot", "/guide", "within a budget"),
        ("docs", "AskBot", "/guide.zip", "denied"),
        ("docs", "TrainBot", "/guide.pdf", "for money"),
        ("shop", "AskBot", "/p/1", "within a budget"),
        ("shop", "AskBot", "/cart", "within a budget"),
        ("shop", "TrainBot", "/cart", "denied"),
        ("shop", "TrainBot", "/p/1", "for money"),
    ] {
        assert_eq!(verdict(name, token, path), expect, "{name}: {token} {path}");
    }
}

#[test]
fn every_purpose_of_every_preset_is_decided() {
    for name in ["news", "docs", "shop"] {
        let policy = preset(name);
        for purpose in Purpose::ALL {
            let rows = policy
                .directory()
                .rows()
                .iter()
                .filter(|row| row.class == Class::Ai && row.purpose == purpose);
            for row in rows.cloned().collect::<Vec<_>>() {
                let rule = match ask(&policy, &row.token, "/some/page", None) {
                    Ok(terms) => terms.rule.to_string(),
                    Err(_) => continue,
                };
                assert!(rule.starts_with(name), "{name}: {} ({purpose}) falls through to {rule}", row.token);
            }
        }
    }
}
