//! Judges every case of `testdata/vectors/web_bot_auth.json`, and of our own file of that format, whatever stands in them.

#[path = "support/vectors.rs"]
mod files;
#[path = "support/web_bot_auth.rs"]
mod support;

use std::sync::Arc;

use files::{both_files, text, unknown_key};
use policy::protocol::bot_auth::{
    AgentCard, CardKeys, DIRECTORY_MEDIA_TYPE, Fetched, HttpsUrl, Invalid, KeyDirectory, KeySource, Keys,
    Outcome, PaymentCover, Settings, SourceKind, Verified, read_claims, verify,
};
use policy::protocol::message_signature::{
    Field, Message, PublicKey, Request, Signature, VerifyError, read_signatures,
};
use serde_json::{Value, json};
use support::Stored;

#[test]
fn every_case_is_judged_as_expected() {
    for (name, file) in both_files("web_bot_auth.json") {
        assert_eq!(unknown_key(&file, &["key", "jwks", "clock_skew_s", "tests"]), None, "{name}");
        const KEYS: [&str; 8] =
            ["request", "headers", "now", "expected", "reason", "signed_base", "jwks_url", "jwks"];
        files::judge(&name, &file["tests"], &KEYS, |case| judge(&file, case).err());
    }
}

/// Where implementers read the drafts differently: each of these is right somewhere.
fn readings(usual: &Settings) -> [Settings; 5] {
    let usual = || usual.clone();
    [
        Settings { typed_agents: false, ..usual() },
        Settings { string_agents: false, ..usual() },
        Settings { member_is_label: true, ..usual() },
        Settings { agent_required: true, ..usual() },
        Settings { refuse_other_tags: true, ..usual() },
    ]
}

fn judge(file: &Value, case: &Value) -> Result<(), String> {
    if let Some(unknown) = unknown_key(&case["request"], &["method", "url"]) {
        return Err(unknown);
    }
    let stored =
        Stored::new(text(&case["request"], "method"), text(&case["request"], "url"), &case["headers"]);
    let fields = stored.fields();
    let request = stored.request(&fields);
    let settings = Settings {
        skew_s: file["clock_skew_s"].as_i64().unwrap_or(60),
        // They are signed with keys that stand in RFCs.
        refuse_published_private_keys: false,
        ..Settings::default()
    };
    let now = case["now"].as_i64().ok_or("no time")?;
    let keys = Published::of(file, case, &request, now, &settings)?;
    let case = Case { json: case, fields: &fields, request: &request, now, keys: &keys };

    let usual = case.outcome(&settings);
    let differs = || Err(format!("{usual:?}"));
    let another = |is_so: fn(&Outcome) -> bool| {
        readings(&settings).iter().any(|settings| is_so(&case.outcome(settings)))
    };
    match (text(case.json, "expected"), &usual) {
        ("verified", Outcome::Verified(verified)) => case.holds(verified, &settings),
        ("invalid", Outcome::Invalid { reason: Invalid::Signature(VerifyError::Mismatch), .. }) => {
            case.mismatches()
        }
        ("invalid", Outcome::Invalid { .. }) | ("unverified", Outcome::Unverified { .. }) => Ok(()),
        // Stricter than usual: a tag, a member's name, no agent.
        ("invalid", _) if another(|outcome| matches!(outcome, Outcome::Invalid { .. })) => Ok(()),
        // Members with parameters are ignored, as the newest draft has it.
        ("unverified", Outcome::Verified(_))
            if another(|outcome| matches!(outcome, Outcome::Unverified { .. })) =>
        {
            Ok(())
        }
        // Another tag: not there, or wrong, as the settings say.
        ("unsigned" | "ignored", Outcome::Unsigned) => Ok(()),
        ("unverified" | "policy-reject" | "draft-dependent", Outcome::Unsigned)
            if another(|outcome| matches!(outcome, Outcome::Invalid { .. })) =>
        {
            Ok(())
        }
        // It holds, and still nothing may be charged: a price that is not covered, or the work.
        ("policy-reject", Outcome::Verified(verified)) => {
            case.holds(verified, &settings)?;
            let is_price = |name: &&str| name.starts_with("crawler-") || *name == "payment-signature";
            let names: Vec<String> = fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            let prices: Vec<&str> = names.iter().map(String::as_str).filter(is_price).collect();
            match verified.covers_payment(&PaymentCover { fields: &prices, body: false }) {
                Err(_) => Ok(()),
                Ok(()) => Err("it covers all that money needs".to_owned()),
            }
        }
        // Or it is good for longer than the settings allow, and with others would do.
        ("policy-reject", Outcome::Invalid { reason: Invalid::WindowTooLong { window_s, .. }, .. }) => {
            let wide = Settings { window_s_max: *window_s, ..settings };
            match case.outcome(&wide) {
                Outcome::Verified(verified) => case.holds(&verified, &wide),
                other => Err(format!("{other:?}")),
            }
        }
        ("draft-dependent", Outcome::Verified(verified)) => {
            case.holds(verified, &settings)?;
            let is_other = another(|outcome| !matches!(outcome, Outcome::Verified(_)));
            // A bare origin: the newest draft would fetch the origin itself.
            let agents: String = fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("signature-agent"))
                .map(|(_, value)| String::from_utf8_lossy(value))
                .collect();
            let claims = read_claims(&request, now, &settings);
            let names_origin = |source: &&KeySource| agents.contains(&format!("\"{}\"", source.url.origin()));
            let is_origin = || claims.sources().iter().any(names_origin);
            if is_other || is_origin() { Ok(()) } else { Err("every draft says so".to_owned()) }
        }
        _ => differs(),
    }
}

struct Case<'a> {
    json: &'a Value,
    fields: &'a [Field<'a>],
    request: &'a Request<'a>,
    now: i64,
    keys: &'a Published,
}

impl Case<'_> {
    fn outcome(&self, settings: &Settings) -> Outcome {
        verify(self.request, self.keys, self.now, settings)
    }

    /// The signature of that label and the base that is made for it.
    fn base(&self, label: &str) -> Result<(Signature, String), String> {
        let read = read_signatures(self.fields).map_err(|error| error.to_string())?;
        let candidate = read.into_iter().find(|candidate| candidate.label == label).ok_or("no such label")?;
        let signature = candidate.signature.map_err(|error| error.to_string())?;
        let base = signature.base(Message::Request(self.request)).map_err(|error| error.to_string())?;
        Ok((Arc::unwrap_or_clone(signature), base))
    }

    /// Its keys are where the case says, its base is the case's, and it is good until it expires and no longer.
    fn holds(&self, verified: &Verified, settings: &Settings) -> Result<(), String> {
        let keys_at = verified.source.as_ref().and_then(|source| self.keys.fetched_from(source));
        let jwks_url = HttpsUrl::parse(text(self.json, "jwks_url")).map_err(|error| error.to_string())?;
        if keys_at != Some(&jwks_url) {
            return Err(format!("the keys are looked for at {:?}", verified.source));
        }
        let (_, base) = self.base(verified.label())?;
        if base != text(self.json, "signed_base") {
            return Err(format!("its base is\n{base}"));
        }
        // Delivered again, it must be known again, for as long as it would be taken.
        let again = |now| verify(self.request, self.keys, now, settings);
        match again(self.now) {
            Outcome::Verified(again) if again.replay == verified.replay => {}
            _ => return Err("its replay key is another each time".to_owned()),
        }
        let key_ends = self.keys.ends(verified).unwrap_or(i64::MAX);
        match again(verified.replay.until - 1) {
            Outcome::Verified(_) => {}
            Outcome::Unverified { .. } if key_ends < verified.replay.until => {}
            other => return Err(format!("before it expires {other:?}")),
        }
        match again(verified.replay.until) {
            Outcome::Invalid { reason: Invalid::Expired, .. } => Ok(()),
            other => Err(format!("when it has expired {other:?}")),
        }
    }

    /// What was signed is something else than what came, or the bytes are nobody's signature of it: it is not our base that
    /// is wrong.
    fn mismatches(&self) -> Result<(), String> {
        let signed = text(self.json, "signed_base");
        let read = read_signatures(self.fields).map_err(|error| error.to_string())?;
        for candidate in read {
            let (signature, base) = self.base(&candidate.label)?;
            let is_of = |key: &PublicKey| key.verifies(signed.as_bytes(), &signature.value);
            let keyid = signature.parameters.keyid.as_deref();
            if base == signed && self.keys.keys().any(|key| Some(key.thumbprint()) == keyid && is_of(key)) {
                return Err("the key has signed this very base".to_owned());
            }
        }
        Ok(())
    }
}

fn fetched(body: &str) -> Fetched<'_> {
    Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() }
}

/// The keys of a case, at the place where it says that they are.
struct Published {
    /// What is asked for, where that leads, and what is there.
    directories: Vec<(KeySource, HttpsUrl, Arc<KeyDirectory>)>,
}

impl Published {
    fn of(
        file: &Value,
        case: &Value,
        request: &Request<'_>,
        now: i64,
        settings: &Settings,
    ) -> Result<Published, String> {
        let url = HttpsUrl::parse(text(case, "jwks_url")).map_err(|error| error.to_string())?;
        let body = case.get("jwks").unwrap_or(&file["jwks"]).to_string();
        let mut places = vec![(KeySource::key_set(url.clone()), KeySource::key_set(url.clone()))];
        // A client document names them.
        let wide = Settings { window_s_max: i64::MAX, ..settings.clone() };
        for source in read_claims(request, now, &wide).sources() {
            if source.kind == SourceKind::ClientDocument {
                let card = json!({ "client_id": source.url.as_str(), "jwks_uri": url.as_str() }).to_string();
                let card = AgentCard::read(Some(&source.url), fetched(&card));
                let card = card.map_err(|error| error.to_string())?;
                match card.keys(source, settings).map_err(|error| error.to_string())? {
                    CardKeys::At(named) => places.push((source.clone(), named)),
                    other => return Err(format!("{other:?}")),
                }
            }
        }
        let read = |(asked, at): (KeySource, KeySource)| {
            let directory = KeyDirectory::read(&at, fetched(&body), settings).ok()?;
            Some((asked, at.url, Arc::new(directory)))
        };
        Ok(Published { directories: places.into_iter().filter_map(read).collect() })
    }

    fn at(&self, source: &KeySource) -> Option<&(KeySource, HttpsUrl, Arc<KeyDirectory>)> {
        self.directories.iter().find(|(asked, ..)| asked == source)
    }

    fn fetched_from(&self, source: &KeySource) -> Option<&HttpsUrl> {
        self.at(source).map(|(_, url, _)| url)
    }

    fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.directories.iter().flat_map(|(.., directory)| directory.keys()).map(|known| &known.key)
    }

    fn ends(&self, verified: &Verified) -> Option<i64> {
        let (.., directory) = self.at(verified.source.as_ref()?)?;
        directory.keys().iter().find(|known| known.key.thumbprint() == &*verified.keyid)?.not_after
    }
}

impl Keys for Published {
    fn directory(&self, source: &KeySource) -> Option<Arc<KeyDirectory>> {
        self.at(source).map(|(.., directory)| Arc::clone(directory))
    }
}
