//! Side by side with libraries that others wrote in other languages: `http-message-signatures` (PyPI), `http-message-sig` and
//! `web-bot-auth` (npm). What each of them signs, we verify; what we sign, they verify; and of each request that was altered
//! after it was signed, they and we say the same.
//!
//! Where they and we differ, so that the requests made up here keep out of it:
//!
//! - `@target-uri`: the libraries take the URL as their caller spells it, `HTTPS://Site.Example:443` too. We have the parts of a
//!   request as it was received, and put the normal form together from them (RFC 9421 section 2.2.2, RFC 9110 section
//!   4.2.3). A URL is in its normal form here where it is covered.
//! - `http-message-signatures` 3.0.0 wants methods in capitals; to RFC 9421 section 2.2.1 they are case-sensitive.
//! - `http-message-sig` 0.3.0 knows neither `;sf`, `;bs` nor `@query-param`.
//! - `web-bot-auth` 0.1.3 stands on a `http-message-sig` before RFC 9421 was final: `;key=` covers the whole field for it, so that
//!   only the string form of `Signature-Agent` verifies in both; white space within values is made one space and none
//!   around them is removed (section 2.1 asks for the opposite); the query of a URL without one is nothing rather than
//!   `?` (section 2.2.7); paths and queries are written as WHATWG URLs are, without dot segments and with more escapes; ports 80
//!   and 443 are left out whatever the scheme.
//! - It wants nonces of 64 bytes. Here any will do.

use std::sync::Arc;

use policy::protocol::bot_auth::{
    AgentForm, Fetched, HttpsUrl, KeyDirectory, KeySource, Keys, Outcome, Settings, SignRequest,
    sign_request, verify,
};
use policy::protocol::message_signature::{Field, Request, SigningKey};
use serde_json::{Value, json};
use support::oracle::{Oracle, now};

mod support {
    pub mod oracle;
}

const KEYS_URL: &str = "https://bot.example/keys.json";
const AGENT_ORIGIN: &str = "https://bot.example";
const TAG: &str = "web-bot-auth";
/// 64 bytes, as `web-bot-auth` wants them.
const NONCE: &str =
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";

/// Numbers by chance, the same in each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().filter(|_| self.below(2) == 0).cloned().collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Library {
    HttpMessageSignatures,
    HttpMessageSig,
    WebBotAuth,
}

impl Library {
    const ALL: [Library; 3] = [Library::HttpMessageSignatures, Library::HttpMessageSig, Library::WebBotAuth];

    fn start(self) -> Oracle {
        match self {
            Library::HttpMessageSignatures => Oracle::python("signatures.py"),
            Library::HttpMessageSig | Library::WebBotAuth => Oracle::node("signatures.mjs"),
        }
    }

    /// Its algorithms; the ones that are slow to sign with stand there once.
    fn algorithms(self) -> &'static [&'static str] {
        match self {
            Library::HttpMessageSignatures => {
                &["ed25519", "ed25519", "ed25519", "rsa-pss-sha512", "ecdsa-p256-sha256"]
            }
            Library::HttpMessageSig => &["ed25519", "ed25519", "ed25519", "rsa-pss-sha512"],
            Library::WebBotAuth => &["ed25519"],
        }
    }

    fn forms(self) -> &'static [AgentForm] {
        match self {
            Library::WebBotAuth => &[AgentForm::String],
            _ => &[AgentForm::Dictionary, AgentForm::String],
        }
    }
}

/// A request, and what of it is to be covered beside `@authority` and `Signature-Agent`.
#[derive(Clone, Debug)]
struct Made {
    method: String,
    scheme: String,
    authority: String,
    target: String,
    fields: Vec<(String, String)>,
    components: Vec<String>,
}

impl Made {
    fn by_chance(dice: &mut Dice, library: Library) -> Made {
        let is_plain = library == Library::WebBotAuth;
        let method = *dice.pick(&["GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "REPORT"]);
        let scheme = *dice.pick(&["https", "https", "http"]);
        let own_port = if scheme == "https" { "site.example:443" } else { "site.example:80" };
        let authority = *dice.pick(&[
            "site.example",
            "Site.EXAMPLE",
            "site.example:8443",
            "[2001:db8::1]:8080",
            own_port,
        ]);
        let paths = ["/", "/articles/1", "/a%20b/%E3%81%82", "/x;y=1,2", "/a//b", "/a/../b%2fc", "/%7Euser"];
        let path = *dice.pick(if is_plain { &paths[..5] } else { &paths });
        let queries = ["", "?a=1", "?q=a%20b+c&r=%C3%A9", "?x=1&x=2&y=3", "?", "?p=a~b*c'd&e"];
        let query = *dice.pick(if is_plain { &queries[..4] } else { &queries });
        let lines = [
            ("crawler-max-price", "USD 0.05"),
            ("X-Mixed-Case", "Some Value"),
            ("x-list", "a, b"),
            ("x-list", "c"),
            ("x-empty", ""),
            ("content-digest", "sha-256=:CADMT2aBdV/rqQr/NIru64ERQkCobVvllA4V0fLFDu0=:"),
            ("priority", "u=1, i"),
            ("x-dict", "a=1, b=(x y);p, c=?1;q=\"z\""),
            ("x-dict", "d=:AAEC:, e"),
            ("x-spaces", "  one  two\t"),
        ];
        let lines = dice.some(if is_plain { &lines[..9] } else { &lines });
        let fields: Vec<(String, String)> =
            lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();

        let mut components = vec!["@method", "@scheme", "@path"];
        components.extend((!is_plain || query.len() > 1).then_some("@query"));
        // As its caller spells it.
        let is_normal = authority.to_ascii_lowercase() == authority && authority != own_port;
        components.extend(is_normal.then_some("@target-uri"));
        components.extend((!is_plain).then_some("@request-target"));
        let mut components: Vec<String> =
            dice.some(&components).into_iter().map(|name| format!("\"{name}\"")).collect();
        for (name, _) in &fields {
            let whole = format!("\"{}\"", name.to_ascii_lowercase());
            if dice.below(2) == 0 && !components.contains(&whole) {
                components.push(whole);
            }
        }
        if !is_plain {
            let has = |line: &str| fields.iter().any(|(_, value)| value.contains(line));
            let members = [("b=(x", "b"), ("b=(x", "c"), ("d=:", "d"), ("d=:", "e")];
            let members = members.iter().filter(|(line, _)| has(line));
            let members: Vec<String> = members.map(|(_, key)| format!("\"x-dict\";key=\"{key}\"")).collect();
            components.extend(dice.some(&members));
        }
        if library == Library::HttpMessageSignatures {
            let of_field = |name: &str, more: &str| {
                fields.iter().any(|(field, _)| field == name).then(|| format!("\"{name}\"{more}"))
            };
            let mut special: Vec<String> =
                ["x-list", "x-spaces", "x-empty"].iter().filter_map(|name| of_field(name, ";bs")).collect();
            special.extend(["priority", "content-digest"].iter().filter_map(|name| of_field(name, ";sf")));
            let parameters = ["q", "r", "y", "p", "a", "e"].iter();
            let present =
                parameters.filter(|name| query.contains(&format!("{name}=")) || query.ends_with("&e"));
            let present = present.filter(|name| query.ends_with("&e") == matches!(**name, "p" | "e"));
            special.extend(present.map(|name| format!("\"@query-param\";name=\"{name}\"")));
            components.extend(dice.some(&special));
        }
        Made {
            method: method.to_owned(),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            target: format!("{path}{query}"),
            fields,
            components,
        }
    }

    fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.target)
    }

    /// As an oracle is asked, with what belongs to the question.
    fn question(&self, what: &str, library: Library, more: &[(&str, Value)]) -> Value {
        let mut question = json!({
            "do": what, "method": self.method, "url": self.url(), "headers": self.fields, "tag": TAG,
            "implementation": if library == Library::WebBotAuth { "web-bot-auth" } else { "http-message-sig" },
        });
        for (key, value) in more {
            question[*key] = value.clone();
        }
        question
    }

    fn with<T>(&self, read: impl FnOnce(&Request<'_>) -> T) -> T {
        let fields: Vec<Field<'_>> =
            self.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let Made { method, scheme, authority, target, .. } = self;
        read(&Request { method, scheme, authority, target, fields: &fields, trailers: &[] })
    }

    fn push(&mut self, name: &str, value: impl Into<String>) {
        self.fields.push((name.to_owned(), value.into()));
    }

    /// The same request with one thing changed each; whether it is covered is for both to find out.
    fn altered(&self) -> Vec<(String, Made)> {
        let mut all = Vec::new();
        let mut change = |what: &str, change: &dyn Fn(&mut Made)| {
            let mut altered = self.clone();
            change(&mut altered);
            all.push((what.to_owned(), altered));
        };
        change("method", &|made| made.method = "PUT".to_owned());
        change("scheme", &|made| {
            // A port that was the scheme's own would no longer be.
            made.scheme = if made.scheme == "http" { "https" } else { "http" }.to_owned();
            made.authority = made.authority.replace(":443", "").replace(":80", "").replace("]80", "]:8080");
        });
        change("host", &|made| {
            made.authority = format!("other.{}", made.authority.trim_start_matches('[')).replace(':', ".")
        });
        change("path", &|made| made.target = format!("/other{}", made.target));
        change("query", &|made| {
            made.target.push_str(if made.target.contains('?') { "&other=1" } else { "?other=1" });
        });
        for index in 0..self.fields.len() {
            change(&self.fields[index].0, &|made| {
                let value = &mut made.fields[index].1;
                *value = match value.replacen('1', "2", 1) {
                    other if other != *value => other,
                    _ => format!("{value}a").replacen("=:a", "=:b", 1).replacen(":a", ":", 1),
                };
            });
        }
        change("the signature's bytes", &|made| {
            let value = made.field("signature");
            let at = value.find(':').expect("bytes") + 9;
            let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
            value.replace_range(at..=at, other);
        });
        for (parameter, other) in
            [(";created=1", ";created=2"), (TAG, "other-tag"), (";expires=1", ";expires=2")]
        {
            change(parameter, &|made| {
                let value = made.field("signature-input");
                *value = value.replacen(parameter, other, 1);
            });
        }
        change("no longer covered", &|made| {
            let value = made.field("signature-input");
            *value = value
                .replacen("\"@authority\"", "", 1)
                .replace("( ", "(")
                .replace("  ", " ")
                .replace(" )", ")");
        });
        all
    }

    fn field(&mut self, name: &str) -> &mut String {
        let line = self.fields.iter_mut().find(|(field, _)| field == name);
        &mut line.expect("a signed request").1
    }
}

struct OneAgent(Arc<KeyDirectory>);

impl Keys for OneAgent {
    fn directory(&self, source: &KeySource) -> Option<Arc<KeyDirectory>> {
        (self.0.source() == source).then(|| self.0.clone())
    }
}

/// What we say of a request whose agent publishes this key.
fn we_verify(made: &Made, jwk: &Value, form: AgentForm, now: i64) -> bool {
    let source = match form {
        AgentForm::Dictionary => KeySource::at(HttpsUrl::parse(KEYS_URL).expect("a URL")),
        AgentForm::String => KeySource::directory(&HttpsUrl::parse(AGENT_ORIGIN).expect("a URL")),
    };
    let body = json!({ "keys": [jwk] }).to_string();
    let content_type = Some("application/http-message-signatures-directory+json");
    let fetched = Fetched { status: 200, content_type, body: body.as_bytes() };
    let directory = KeyDirectory::read(&source, fetched, &Settings::default()).expect("a directory");
    let keys = OneAgent(Arc::new(directory));
    made.with(|request| matches!(verify(request, &keys, now, &Settings::default()), Outcome::Verified(_)))
}

fn they_verify(oracle: &mut Oracle, library: Library, made: &Made, jwk: &Value, algorithm: &str) -> bool {
    let more = [("jwk", jwk.clone()), ("algorithm", json!(algorithm))];
    oracle.ask(&made.question("verify", library, &more))["ok"] == json!(true)
}

/// Compares what both say of a signed request, then of all that can become of it.
fn compare(
    oracle: &mut Oracle,
    library: Library,
    good: &Made,
    (jwk, algorithm): (&Value, &str),
    form: AgentForm,
    now: i64,
) -> [usize; 2] {
    let mut said = [0, 0];
    assert!(we_verify(good, jwk, form, now), "we refuse what {library:?} is sure of: {good:?}");
    assert!(they_verify(oracle, library, good, jwk, algorithm), "{library:?} refuses what is good: {good:?}");
    for (what, altered) in good.altered() {
        let ours = we_verify(&altered, jwk, form, now);
        let theirs = they_verify(oracle, library, &altered, jwk, algorithm);
        assert_eq!(ours, theirs, "{library:?}, {what} changed: {altered:?}");
        let is_covered =
            |name: &str| good.components.iter().any(|component| *component == format!("\"{name}\""));
        let must_fail = match what.as_str() {
            "method" => is_covered("@method"),
            "path" => is_covered("@path"),
            "query" => is_covered("@query"),
            "X-Mixed-Case" | "crawler-max-price" | "x-list" => is_covered(&what.to_ascii_lowercase()),
            "scheme" => is_covered("@scheme"),
            _ => !matches!(what.as_str(), "x-dict" | "x-empty" | "x-spaces" | "content-digest" | "priority"),
        };
        assert!(!(ours && must_fail), "{what} is covered: {altered:?}");
        said[usize::from(ours)] += 1;
    }
    said
}

fn add_agent(made: &mut Made, form: AgentForm) {
    match form {
        AgentForm::Dictionary => {
            made.push("signature-agent", format!("sig1=\"{KEYS_URL}\""));
            made.components.push("\"signature-agent\";key=\"sig1\"".to_owned());
        }
        AgentForm::String => {
            made.push("signature-agent", format!("\"{AGENT_ORIGIN}\""));
            made.components.push("\"signature-agent\"".to_owned());
        }
    }
    made.components.insert(0, "\"@authority\"".to_owned());
}

fn they_sign(library: Library, requests: usize) {
    let (mut oracle, mut dice) = (library.start(), Dice(9421));
    let now = now();
    let mut said = [0, 0];
    for _ in 0..requests {
        let mut made = Made::by_chance(&mut dice, library);
        let (form, algorithm) = (*dice.pick(library.forms()), *dice.pick(library.algorithms()));
        add_agent(&mut made, form);
        let nonce = [json!(NONCE), Value::Null];
        // What has expired, and what is yet to come, is good for neither.
        let from = *dice.pick(&[now, now, now, now - 7_200, now + 7_200]);
        let more = [
            ("algorithm", json!(algorithm)),
            ("label", json!("sig1")),
            ("components", json!(made.components)),
            ("created", json!(from)),
            ("expires", json!(from + 3_600)),
            ("nonce", dice.pick(&nonce).clone()),
            ("alg", json!(dice.below(2) == 0)),
        ];
        let signed = oracle.ask(&made.question("sign", library, &more));
        let text =
            |key: &str| signed[key].as_str().unwrap_or_else(|| panic!("{signed}: {made:?}")).to_owned();
        let (input, signature) = (text("input"), text("signature"));
        made.push("signature-input", input);
        made.push("signature", signature);
        let jwk = &signed["jwk"];
        if from == now {
            let [bad, good] = compare(&mut oracle, library, &made, (jwk, algorithm), form, now);
            said = [said[0] + bad, said[1] + good];
        } else {
            assert!(!we_verify(&made, jwk, form, now), "{made:?}");
            assert!(!they_verify(&mut oracle, library, &made, jwk, algorithm), "{made:?}");
        }
    }
    // Both that the changes mattered and that they did not was seen.
    assert!(said.iter().all(|count| *count > requests), "{said:?}");
}

#[test]
fn we_verify_what_http_message_signatures_signs() {
    they_sign(Library::HttpMessageSignatures, 150);
}

#[test]
fn we_verify_what_http_message_sig_signs() {
    they_sign(Library::HttpMessageSig, 150);
}

#[test]
fn we_verify_what_web_bot_auth_signs() {
    they_sign(Library::WebBotAuth, 100);
}

#[test]
fn they_verify_what_we_sign() {
    for library in Library::ALL {
        let (mut oracle, mut dice) = (library.start(), Dice(7638));
        let now = now();
        for _ in 0..60 {
            let mut made = Made::by_chance(&mut dice, library);
            let mut seed = [0; 32];
            seed.fill_with(|| dice.below(256) as u8);
            let key = SigningKey::from_seed(&seed).expect("a key");
            let form = *dice.pick(library.forms());
            let components: Vec<&str> = made.components.iter().map(String::as_str).collect();
            let how = SignRequest {
                form,
                label: "sig1",
                components: &components,
                created: now,
                expires: now + 3_600,
                nonce: [Some(NONCE), None][dice.below(2)],
            };
            let keys = match form {
                AgentForm::Dictionary => KEYS_URL,
                AgentForm::String => AGENT_ORIGIN,
            };
            let keys = HttpsUrl::parse(keys).expect("a URL");
            let signed = made.with(|request| sign_request(&key, &keys, request, &how));
            let signed = signed.unwrap_or_else(|error| panic!("{error}: {made:?}"));
            made.push("signature-agent", signed.signature_agent);
            made.push("signature-input", signed.signature_input);
            made.push("signature", signed.signature);
            compare(&mut oracle, library, &made, (&key.public_key().to_jwk(), "ed25519"), form, now);
        }
    }
}
