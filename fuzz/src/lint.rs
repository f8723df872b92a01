//! Published texts that a stranger wrote, beside a policy: whatever they are, there is a report, and what a policy publishes into a
//! stranger's robots.txt keeps it.

use std::sync::OnceLock;

use policy::lint::{LicenseText, Origin, ResponseText, Text, Texts, lint};
use policy::protocol::robots::without_additions;
use policy::publish::{Publisher, Switches};
use policy::{PolicySnapshot, Source};

const POLICY: &str = r#"
version = 1
mode = "enforce"
[[crawler]]
token = "OneBot"
operator = "one"
purpose = "train"
[[rule]]
name = "sold"
path = ["/a/**", "/**.pdf"]
purpose = ["train", "ground"]
charge = { price = "0.002 USD", per = "fetch" }
[[rule]]
name = "refused"
path = ["/a/b/**", "/*/x"]
deny = true
"#;

fn policy() -> &'static PolicySnapshot {
    static COMPILED: OnceLock<PolicySnapshot> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let source = Source { name: "policy.toml".to_owned(), text: POLICY.to_owned() };
        let compiled =
            PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing is included".to_owned()));
        compiled.expect("the policy above compiles").0
    })
}

/// The first byte says which texts the others are.
pub fn run(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    // Reports about long texts take long, and find nothing that short ones do not.
    let data = &data[..data.len().min(2_048)];
    let origin = Origin::new(true, "example.com").expect("a host");
    let text = || Text { name: "it".to_owned(), bytes: data.to_vec() };
    let html = String::from_utf8_lossy(data).into_owned();
    let mut texts = Texts::default();
    if which & 1 != 0 {
        texts.robots = Some(text());
    }
    if which & 2 != 0 {
        texts.tdmrep = Some(text());
    }
    if which & 4 != 0 {
        texts.licenses.push(LicenseText { url: None, text: text() });
    }
    if which & 8 != 0 {
        let names =
            ["link", "content-usage", "tdm-reservation", "tdm-policy", "crawler-price", "x-robots-tag"];
        let fields = names.map(|name| (name.to_owned(), data.to_vec())).to_vec();
        texts.responses.push(ResponseText {
            name: "it".to_owned(),
            target: "/a/b/x".to_owned(),
            fields,
            html: Some(html),
        });
    }
    let report = lint(policy(), &origin, &texts);
    assert!(report.contradictions().count() <= report.findings.len());
    if which & 1 != 0
        && let Ok((ours, _)) = Publisher::new(policy(), &origin, Switches::ALL).robots(data)
    {
        assert_eq!(without_additions(&ours), without_additions(data), "the site's own text stays");
        let again = Publisher::new(policy(), &origin, Switches::ALL).robots(&ours);
        assert_eq!(again.ok().map(|(text, _)| text), Some(ours), "writing it again changes nothing");
    }
}
