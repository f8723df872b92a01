//! RSL: whatever a site declares, it is a document or says why not; what is read is written back, and judged in any order.

use policy::protocol::rsl::discovery::{in_feed, in_file, in_html, in_link_headers};
use policy::protocol::rsl::{
    Asset, DIAGNOSTICS_MAX, Decision, Document, DocumentError, UsageClass, Use, UserClass,
};

pub(crate) fn run(input: &[u8]) {
    match Document::parse(input) {
        Ok(document) => check(document),
        Err(DocumentError::NotConformant { diagnostics }) => {
            assert!((1..=DIAGNOSTICS_MAX).contains(&diagnostics.len()));
            assert!(diagnostics.iter().all(|one| one.line >= 1 && one.column >= 1 && one.width >= 1));
            policy::render(&diagnostics);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let targets = in_link_headers([input]);
    assert!(targets.iter().all(|target| target.contains(':')));
    let Ok(text) = std::str::from_utf8(input) else { return };
    for document in in_html(text).inline.into_iter().flatten() {
        assert_eq!(document.contents.len(), 1);
    }
    let _ = in_feed(text, "https://example.com");
    if let Ok(Some(document)) = in_file(text) {
        assert!(document.contents[0].url.contains("://"));
    }
}

fn check(mut document: Document) {
    let text = document.publish().expect("what was read can be written");
    assert_eq!(Document::parse(&text).as_ref(), Ok(&document));
    let asset = Asset { origin: Some("https://example.com"), path: "/articles/one.pdf?p=2" };
    for usage in UsageClass::ALL {
        for user in [None, Some(UserClass::Commercial)] {
            let wanted = Use { usage: *usage, user, geo: None, reporting_profiles: &[] };
            let decision = document.evaluate(&asset, &wanted);
            if let Decision::Permit(licensed) | Decision::Charge(licensed) = &decision {
                assert_eq!(licensed.is_due(), decision.as_str() == "charge");
            }
            let decision = decision.as_str();
            document.contents.reverse();
            document.contents.iter_mut().for_each(|content| content.licenses.reverse());
            assert_eq!(document.evaluate(&asset, &wanted).as_str(), decision);
        }
    }
}
