//! Licences end to end: a crawler gets a token from Byline's own licence server and fetches with it; every fault of either
//! side has its documented answer, and none of them costs anybody anything.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use e2e::byline::{Said, run};
use e2e::config::{self, POOR, RICH};
use e2e::licences::{
    ANSWERS, BRIEF, Desk, POLICY, SECRET, SERVER, TRAINING, asking, basic, call, encode, fetch, json,
    license, token,
};
use e2e::origin::ok;
use e2e::wait::{PATIENCE, until_true};
use e2e::{Answer, Byline, Client, Origin, configured, get};
use serde_json::Value;

fn site() -> Origin {
    Origin::answering(ok("", "a work"))
}

fn rich() -> String {
    basic("rich", SECRET)
}

/// A token of the licence `training` for `/licensed/*`.
fn training(byline: &Byline) -> String {
    token(byline, &rich(), TRAINING, "/licensed/*")
}

fn introspect(byline: &Byline, token: &str, resource: &str) -> Value {
    let form = format!("token={}&resource={}", encode(token), encode(resource));
    let answer = byline.ask(call("/introspect", &rich(), &form));
    assert_eq!(answer.status, 200, "{}", answer.text());
    json(&answer)
}

/// The id of a token, as records have it: by a fetch with it.
fn id_of(byline: &Byline, token: &str) -> String {
    assert_eq!(fetch(byline, RICH, "RichBot", "/licensed/id", &license(token)).status, 200);
    let evidence = byline.records().pop().expect("a record")["evidence"].as_str().expect("a text").to_owned();
    evidence.split(' ').nth(2).expect("a token's id").trim_end_matches(',').to_owned()
}

fn revoke(byline: &Byline, arguments: &[&str]) -> Said {
    let state = byline.state.display().to_string();
    let said = run(["licence", "revoke", "--state", &state].iter().chain(arguments).copied());
    assert_eq!(said.code, 0, "{}", said.err);
    said
}

/// What CAP says: the status and the word in the challenge.
#[track_caller]
fn check(answer: &Answer, status: u16, word: &str) {
    let challenge = answer.field("www-authenticate");
    assert_eq!(answer.status, status, "{challenge}\n{}", answer.text());
    assert!(challenge.starts_with(&format!("License error=\"{word}\", error_description=\"")), "{challenge}");
    let link = "<http://site.test/license.xml>; rel=\"license\"; type=\"application/rsl+xml\"";
    assert_eq!(answer.fields.all("link").contains(&link), status < 403, "{:?}", answer.fields);
    assert_eq!(answer.field("cache-control"), "no-store");
}

#[test]
fn a_crawler_gets_a_token_and_fetches_with_it() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    check(&fetch(&byline, RICH, "RichBot", "/licensed/1", ""), 401, "invalid_request");
    let answer = byline.ask(call("/token", &rich(), &asking(TRAINING, "/licensed/*")));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("cache-control"), "no-store");
    assert_eq!(answer.field("content-type"), "application/json");
    let said = json(&answer);
    assert_eq!(
        (said["token_type"].as_str(), said["expires_in"].as_u64()),
        (Some("License"), Some(90 * 86_400))
    );
    let token = said["access_token"].as_str().expect("a token");
    assert!(origin.untouched(), "nothing of it reaches the origin");

    let lines = format!("Authorization: Other abc\r\n{}", license(token));
    let answer = fetch(&byline, RICH, "RichBot", "/licensed/1", &lines);
    assert_eq!((answer.status, answer.text().as_str()), (200, "a work"));
    let link = "<http://site.test/license.xml>; rel=\"license\"; type=\"application/rsl+xml\"";
    assert_eq!(answer.fields.all("link"), [link]);
    assert_eq!(origin.request().fields.all("authorization"), ["Other abc"], "the token ends here");

    let [record] = &byline.records()[..] else { panic!("one record") };
    let id = id_of(&byline, token);
    assert_eq!(record["assurance"], "licensed");
    assert_eq!(record["evidence"], format!("licence training {id}, range policy"));
    assert_eq!(record["licence"], "http://site.test/license.xml");
    assert_eq!((&record["rule"], &record["amount_nano"]), (&"licensed".into(), &"0".into()));
    assert_eq!(id.len(), 32);
    assert!(!byline.words().contains(token) && !byline.words().contains(SECRET), "no secret is said");
    assert!(byline.words().contains(&id), "the log says which token was given to whom");

    let introspected = introspect(&byline, token, "http://site.test/licensed/1");
    assert_eq!((&introspected["active"], &introspected["permitted"]), (&true.into(), &true.into()));
    assert_eq!(introspect(&byline, token, "http://site.test/paid/1")["permitted"], false);
    // In JSON, and over HTTP/1.1 on the same connection.
    let body =
        serde_json::json!({"grant_type": "client_credentials", "license": TRAINING, "resource": "/paid/*"});
    let call = call("/token", &rich(), &body.to_string()).replace("x-www-form-urlencoded", "json");
    let mut client = byline.client();
    for _ in 0..2 {
        assert_eq!(client.ask(&call).status, 200);
    }
    // People and what no licence decides are as ever.
    assert_eq!(byline.ask(get("/licensed/1", &license("bl1.bad.token"))).status, 200);
    assert_eq!(
        origin.requests().pop().expect("a request").fields.all("authorization"),
        ["License bl1.bad.token"]
    );
}

#[test]
fn what_costs_nothing_is_given_to_anybody_and_nothing_else_is() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    let token = token(&byline, "", ANSWERS, "/licensed/*");
    let answer = fetch(&byline, RICH, "AnswerBot", "/licensed/1", &license(&token));
    assert_eq!(answer.status, 200);
    check(&fetch(&byline, RICH, "RichBot", "/licensed/1", &license(&token)), 403, "insufficient_scope");
    let answer = byline.ask(call("/token", "", &asking(TRAINING, "/licensed/*")));
    assert_eq!((answer.status, &json(&answer)["error"]), (401, &"invalid_client".into()));
    assert!(answer.field("www-authenticate").starts_with("Basic "));
    let answer = byline.ask(call("/token", &basic("poor", SECRET), &asking(TRAINING, "/licensed/*")));
    assert_eq!((answer.status, &json(&answer)["error"]), (403, &"unauthorized_client".into()));
    // Whoever is nobody in particular cannot ask about tokens.
    let form = format!("token={}&resource=%2F", encode(&token));
    assert_eq!(byline.ask(call("/introspect", "", &form)).status, 401);
    // A licence is no identity: a stranger with a token is not put on anybody's account.
    let stranger = fetch(&byline, [127, 0, 0, 9], "AnswerBot", "/licensed/1", &license(&token));
    assert_eq!(stranger.status, 403, "a spoof's token is not looked at: its name has a network");
}

#[test]
fn each_fault_of_a_call_has_its_answer() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    let good = asking(TRAINING, "/licensed/*");
    let xxe = format!(
        "<!DOCTYPE license [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>{}",
        TRAINING.replace("ai-train", "&a;")
    );
    let laughs =
        "<!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><license>&b;</license>";
    let deep = "<x>".repeat(10_000);
    for (form, status, error) in [
        (asking(xxe.as_str(), "/licensed/*"), 400, "invalid_license"),
        (asking(laughs, "/licensed/*"), 400, "invalid_license"),
        (asking(&deep, "/licensed/*"), 400, "invalid_license"),
        (asking(&TRAINING.replace("1000", "1"), "/licensed/*"), 400, "invalid_license"),
        (asking(&TRAINING.replace("ai-train", "ai-all"), "/licensed/*"), 400, "invalid_license"),
        (asking("<licence/>", "/licensed/*"), 400, "invalid_license"),
        (asking(TRAINING, "/*"), 400, "invalid_resource"),
        (asking(TRAINING, "/elsewhere/*"), 400, "invalid_resource"),
        (asking(TRAINING, "http://other.test/licensed/*"), 400, "invalid_resource"),
        (good.replace("client_credentials", "password"), 400, "unsupported_grant_type"),
        (good.replace("client_credentials", "rsl"), 400, "unsupported_grant_type"),
        (good.replace("license=", "licence="), 400, "invalid_request"),
        (good.replace("resource=", "to="), 400, "invalid_request"),
        (format!("{good}&resource=%2F"), 400, "invalid_request"),
        (String::new(), 400, "invalid_request"),
        (format!("{good}&pad={}", "x".repeat(1 << 20)), 400, "invalid_request"),
    ] {
        let answer = byline.ask(call("/token", &rich(), &form));
        let said = (answer.status, json(&answer)["error"].as_str().unwrap_or_default().to_owned());
        assert_eq!(said, (status, error.to_owned()), "{}", &form[..form.len().min(200)]);
    }
    for lines in [
        basic("rich", "wrong"),
        basic("rich", ""),
        basic("nobody", SECRET),
        "Authorization: Bearer abc\r\n".to_owned(),
        format!("{}{}", rich(), rich()),
    ] {
        for endpoint in ["/token", "/introspect", "/key"] {
            let answer = byline.ask(call(endpoint, &lines, &good));
            assert_eq!((answer.status, &json(&answer)["error"]), (401, &"invalid_client".into()), "{lines}");
            assert!(answer.field("www-authenticate").starts_with("Basic realm="));
        }
    }
    let token = training(&byline);
    let key = |token: &str| {
        let answer = byline.ask(call("/key", &rich(), &format!("token={token}&resource=%2Flicensed%2F1")));
        (answer.status, json(&answer)["error"].as_str().expect("an error").to_owned())
    };
    assert_eq!(key(&token), (403, "insufficient_scope".to_owned()), "nothing here is encrypted");
    assert_eq!(key("bl1.a.b"), (401, "invalid_token".to_owned()));
    assert_eq!(introspect(&byline, "bl1.a.b", "/"), serde_json::json!({"active": false}));
    for endpoint in ["/introspect", "/key"] {
        for form in
            [format!("token={token}"), format!("token={token}&resource=%00"), "resource=%2F".to_owned()]
        {
            let answer = byline.ask(call(endpoint, &rich(), &form));
            assert_eq!((answer.status, &json(&answer)["error"]), (400, &"invalid_request".into()), "{form}");
        }
    }
    assert_eq!(byline.ask(get(&format!("{SERVER}/token"), "")).status, 405);
    assert_eq!(byline.ask(call("/other", "", "")).status, 404);
    let text = call("/token", &rich(), &good).replace("application/x-www-form-urlencoded", "text/plain");
    assert_eq!(byline.ask(text).status, 400);
    // Through the network a secret goes over TLS only.
    let site = config::site(
        &origin.url(),
        &format!("{}trusted_proxies = [\"127.0.0.10/32\"]\n{}", config::POLICY, desk.config()),
    );
    let behind = configured(site).policy(POLICY).start();
    for (scheme, status) in [("http", 400), ("https", 200)] {
        let lines = format!("{}X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: {scheme}\r\n", rich());
        let mut proxy = Client::connect_from([127, 0, 0, 10], behind.listen);
        assert_eq!(proxy.ask(call("/token", &lines, &good)).status, status, "{scheme}");
    }
    assert!(origin.untouched());
    assert!(byline.records().is_empty(), "nothing of it is metered");
}

/// What the licence server gives and refuses is counted, by what clients were told.
#[test]
fn tokens_are_counted_by_what_clients_got() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    let counted =
        |result: &str| byline.metric("byline_licence_tokens_total", &[&format!("result=\"{result}\"")]);
    let results = [
        "given",
        "too-many-calls",
        "invalid_request",
        "invalid_client",
        "unauthorized_client",
        "invalid_license",
        "invalid_resource",
        "unsupported_grant_type",
        "server_error",
    ];
    let series = byline.metrics();
    let is_there = |result: &&str| {
        let name = format!("byline_licence_tokens_total{{result=\"{result}\"}}");
        series.contains(&(name, 0.0))
    };
    assert!(results.iter().all(is_there), "all are there from the start: {series:?}");
    let good = asking(TRAINING, "/licensed/*");
    training(&byline);
    training(&byline);
    for (lines, form) in [
        (rich(), String::new()),
        (String::new(), good.clone()),
        (basic("poor", SECRET), good.clone()),
        (rich(), asking("<licence/>", "/licensed/*")),
        (rich(), asking(TRAINING, "/elsewhere/*")),
        (rich(), good.replace("client_credentials", "password")),
    ] {
        byline.ask(call("/token", &lines, &form));
    }
    // Other endpoints give no tokens.
    byline.ask(call("/introspect", "", "token=a&resource=b"));
    let mut client = Client::connect_from([127, 0, 0, 8], byline.listen);
    while client.ask(call("/token", "", "")).status != 429 {}
    until_true("the counts", PATIENCE, || counted("too-many-calls") == 1.0);
    assert_eq!(counted("given"), 2.0);
    for one in [
        "invalid_client",
        "unauthorized_client",
        "invalid_license",
        "invalid_resource",
        "unsupported_grant_type",
    ] {
        assert_eq!(counted(one), 1.0, "{one}");
    }
    assert!(counted("invalid_request") > 100.0);
    assert_eq!(counted("server_error"), 0.0);
}

#[test]
fn words_of_the_drafts_are_taken_where_the_configuration_says_so() {
    let (origin, desk) = (site(), Desk::new());
    let draft = asking(TRAINING, "/licensed/*").replace("client_credentials", "rsl");
    for (more, status) in [("", 400), ("drafts = true\n", 200)] {
        let config = config::site(&origin.url(), &format!("{}{}{more}", config::POLICY, desk.config()));
        let byline = configured(config).policy(POLICY).start();
        let answer = byline.ask(call("/token", &rich(), &draft));
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 200 {
            assert_eq!(json(&answer)["token_type"], "License", "never the drafts' own");
        }
    }
}

/// `byline check` reads what a start would read: the file of clients that a configuration names, each mistake with its place.
#[test]
fn a_configuration_is_checked_with_its_clients() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (clients, config) = (dir.path().join("clients.toml"), dir.path().join("byline.toml"));
    let text = format!("upstream = \"http://127.0.0.1:1\"\n[licence]\nclients = \"{}\"\n", clients.display());
    std::fs::write(&config, text).expect("a temporary file");
    let check = |file: &Path, format: &str| {
        run(["check".as_ref(), "--format".as_ref(), format.as_ref(), file.as_os_str()])
    };
    let good =
        format!("[[client]]\nid = \"lab\"\noperator = \"labs\"\nsecret_sha256 = \"{}\"\n", "a".repeat(64));
    std::fs::write(&clients, &good).expect("a temporary file");
    let said = check(&config, "text");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("clients.toml: in order: 1 client of the licence server"), "{}", said.err);
    for (text, place, what) in [
        (good.replace("operator", "operater"), ":3:1\n", "operater"),
        (good.replace(&"a".repeat(64), "hunter2"), ":4:17\n", "is no SHA-256"),
        (format!("{good}{good}"), ":6:6\n", "is there twice"),
        (good.replace("[[client]]", "[[clients]]"), ":1:3\n", "clients"),
    ] {
        std::fs::write(&clients, &text).expect("a temporary file");
        let said = check(&config, "text");
        let at = format!("{}{place}", clients.display());
        assert_eq!(said.code, 3, "{text}\n{}", said.err);
        assert!(said.err.contains(&at) && said.err.contains(what), "{at} {what}\n{}", said.err);
        assert!(!said.err.contains("hunter2"), "a secret is not repeated: {}", said.err);
    }
    let said = check(&config, "json");
    let report: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&report["valid"], &report["files"][1]["kind"]), (&false.into(), &"clients".into()));
    std::fs::write(&clients, &good).expect("a temporary file");
    assert_eq!(check(&clients, "text").code, 0, "by itself as well");
    std::fs::remove_file(&clients).expect("our own file");
    let said = check(&config, "text");
    assert!(said.code == 3 && said.err.contains("cannot be read"), "{}", said.err);
}

#[test]
fn each_fault_of_a_token_has_its_answer_and_costs_nothing() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    let good = training(&byline);
    let brief = token(&byline, "", BRIEF, "/licensed/*");
    let refused = |agent: &str, from: [u8; 4], path: &str, token: &str, status: u16, word: &str| {
        check(&fetch(&byline, from, agent, path, &license(token)), status, word);
    };
    // Another operator, another purpose, another work that a licence is to be had for, another scheme's token.
    refused("PoorBot", POOR, "/licensed/1", &good, 401, "invalid_token");
    refused("AnswerBot", RICH, "/licensed/1", &good, 403, "insufficient_scope");
    refused("RichBot", RICH, "/paid/1", &good, 403, "insufficient_scope");
    refused("RichBot", RICH, "/licensed/1", "opaque", 401, "invalid_token");
    refused("RichBot", RICH, "/licensed/1", "a b", 401, "invalid_request");
    let twice = format!("{}{}", license(&good), license(&good));
    check(&fetch(&byline, RICH, "RichBot", "/licensed/1", &twice), 401, "invalid_request");
    // Altered in any place.
    for place in (4..good.len()).step_by(7) {
        let mut altered = good.clone().into_bytes();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).expect("ASCII");
        refused("RichBot", RICH, "/licensed/1", &altered, 401, "invalid_token");
    }
    // Expired; in time it was good.
    until_true("the end of a token", PATIENCE, || {
        fetch(&byline, RICH, "RichBot", "/licensed/1", &license(&brief)).status == 401
    });
    refused("RichBot", RICH, "/licensed/1", &brief, 401, "invalid_token");
    assert_eq!(introspect(&byline, &brief, "/licensed/*")["active"], false);
    // A work that can be paid for is not sold to who shows a bad token, though its contract would pay.
    refused("RichBot", RICH, "/paid/1", "opaque", 401, "invalid_token");
    let paid = fetch(&byline, RICH, "RichBot", "/paid/1", "");
    assert_eq!(paid.status, 200, "without one it is");
    // Who cannot pay either is told of both ways.
    let poor = fetch(&byline, POOR, "PoorBot", "/paid/1", "");
    check(&poor, 402, "invalid_request");
    assert_eq!(poor.field("crawler-price"), "USD 0.5");
    let bytes: usize =
        poor.fields.without(&[]).iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    assert!(bytes < 2_048, "{bytes} bytes of fields");
    // A rule speaks of licences, and none is on offer.
    let other = fetch(&byline, RICH, "RichBot", "/other/1", &license(&good));
    assert_eq!((other.status, other.field("www-authenticate")), (403, ""));
    // And where no licence decides, nobody looks at the token.
    assert_eq!(fetch(&byline, RICH, "RichBot", "/free/1", &license("opaque")).status, 200);

    let owed: Vec<Value> =
        byline.records().into_iter().filter(|record| record["amount_nano"] != "0").collect();
    assert_eq!(owed.len(), 1, "what was paid for without a token: {owed:?}");
}

#[test]
fn a_key_that_is_gone_signs_nothing_any_more_and_a_new_one_is_taken_at_a_reload() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    let fetches = |token: &str| fetch(&byline, RICH, "RichBot", "/licensed/1", &license(token)).status;
    let reload = || {
        let before = byline.words().matches("policy reloaded").count();
        byline.hang_up();
        until_true("a reload", PATIENCE, || byline.words().matches("policy reloaded").count() > before);
    };
    let old = training(&byline);
    let old_keys: Vec<PathBuf> = files(&desk.keys());
    desk.new_key();
    reload();
    let new = training(&byline);
    assert_eq!((fetches(&old), fetches(&new)), (200, 200), "both keys verify");
    for file in old_keys {
        std::fs::remove_file(file).expect("our own file");
    }
    reload();
    assert_eq!((fetches(&old), fetches(&new)), (401, 200));
}

fn files(directory: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_revoked_token_is_refused_from_the_next_fetch_on_and_after_a_restart() {
    let (origin, desk) = (site(), Desk::new());
    let mut byline = desk.serve(&origin.url(), POLICY);
    let (first, second, third) = (training(&byline), training(&byline), training(&byline));
    let fetches =
        |byline: &Byline, token: &str| fetch(byline, RICH, "RichBot", "/licensed/1", &license(token)).status;
    // By its id, as the records have it; by the token itself, which says when it expires.
    let id = id_of(&byline, &first);
    assert_eq!(introspect(&byline, &first, "/licensed/*")["active"], true);
    assert!(revoke(&byline, &[&id]).err.contains(&id));
    assert_eq!((fetches(&byline, &first), fetches(&byline, &second)), (401, 200));
    assert_eq!(introspect(&byline, &first, "/licensed/*"), serde_json::json!({"active": false}));
    revoke(&byline, &[&second]);
    assert_eq!((fetches(&byline, &second), fetches(&byline, &third)), (401, 200));
    byline.stop();
    byline.start_again();
    assert_eq!(
        (fetches(&byline, &first), fetches(&byline, &second), fetches(&byline, &third)),
        (401, 401, 200)
    );
    let list = run(["licence", "list", "--format", "json", "--state", &byline.state.display().to_string()]);
    let lines: Vec<Value> = list.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{}", list.out);
    assert_eq!(lines[0]["token"], id);
    assert!(!list.out.contains("bl1."));
    // All that an operator has, and not what it gets afterwards.
    revoke(&byline, &["--operator", "rich-labs"]);
    assert_eq!(fetches(&byline, &third), 401);
    let said = byline.state.join("licences/revoked");
    let good = std::fs::read_to_string(&said).expect("the file");
    // A list that nobody can read is no empty one.
    std::fs::write(&said, format!("{good}nonsense\n")).expect("our own file");
    let unknown = || byline.words().matches("no licence token can be checked").count();
    for _ in 0..3 {
        let answer = fetch(&byline, RICH, "RichBot", "/licensed/1", &license(&third));
        check(&answer, 503, "server_error");
        assert!(answer.fields.has("retry-after"));
    }
    assert_eq!(unknown(), 1, "it is said once");
    std::fs::write(&said, good).expect("our own file");
    assert_eq!(fetches(&byline, &third), 401);
    assert!(byline.words().contains("licence tokens can be checked again"));
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let revoked = second();
    until_true("the next second", PATIENCE, || second() > revoked);
    assert_eq!(fetches(&byline, &training(&byline)), 200);
    let wrong = run(["licence", "revoke", "nonsense"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
}

#[test]
fn ten_thousand_calls_are_slowed_down_and_hurt_nobody_else() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    let good = training(&byline);
    let call = call("/token", &basic("rich", "a guess"), &asking(TRAINING, "/licensed/*"));
    let mut client = Client::connect_from([127, 0, 0, 8], byline.listen);
    let (mut looked_at, mut slowed, begun) = (0, 0, Instant::now());
    for _ in 0..10_000 {
        let answer = client.ask(&call);
        match answer.status {
            401 => looked_at += 1,
            429 => {
                assert_eq!(answer.field("retry-after"), "10");
                slowed += 1;
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    let most = 111 + 10 * begun.elapsed().as_secs();
    assert!((100..=most).contains(&looked_at), "{looked_at} were looked at, {slowed} were not");
    assert_eq!(fetch(&byline, RICH, "RichBot", "/licensed/1", &license(&good)).status, 200);
    assert!(!training(&byline).is_empty(), "other addresses get tokens");
    assert_eq!(byline.ask(get("/", "")).status, 200);
}

#[test]
fn without_licences_there_is_no_server_and_tokens_are_the_origins_business() {
    let origin = site();
    let byline = configured(config::site(&origin.url(), config::POLICY))
        .policy(
            "version = 1\n[[crawler]]\ntoken = \"RichBot\"\noperator = \"rich-labs\"\npurpose = \"train\"\n",
        )
        .start();
    assert_eq!(byline.ask(call("/token", "", "x=y")).text(), "a work");
    assert_eq!(fetch(&byline, RICH, "RichBot", "/licensed/1", &license("theirs")).status, 200);
    let seen: Vec<String> = origin
        .requests()
        .iter()
        .map(|request| request.fields.first("authorization").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(seen, ["", "License theirs"]);
}

#[test]
fn a_policy_whose_licences_nobody_can_give_says_so() {
    let origin = site();
    let byline = configured(config::site(&origin.url(), config::POLICY)).policy(POLICY).start();
    assert!(byline.words().contains("names no keys"), "{}", byline.words());
    check(&fetch(&byline, RICH, "RichBot", "/licensed/1", ""), 401, "invalid_request");
    check(&fetch(&byline, RICH, "RichBot", "/licensed/1", &license("any")), 503, "server_error");
    assert_eq!(byline.ask(call("/token", "", "x=y")).text(), "a work", "there is no server");
}

/// A client that nobody here wrote: authlib, which knows the licence server for an OAuth 2.0 server like any other.
#[test]
fn an_oauth_client_of_others_gets_along_with_it() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let python = top.join(".venv/bin/python");
    let client = |secret: &str| {
        let (url, work) =
            (format!("http://{}{SERVER}", byline.listen), format!("http://{}/licensed/1", byline.listen));
        let output = Command::new(&python)
            .arg(top.join("e2e/python/licence_client.py"))
            .args([
                url.as_str(),
                "rich",
                secret,
                TRAINING,
                "/licensed/*",
                work.as_str(),
                "RichBot/1.0",
                "127.0.0.2",
            ])
            // It would talk to servers with TLS only, and this one is on the same machine.
            .env("AUTHLIB_INSECURE_TRANSPORT", "1")
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; `make deps` installs it", python.display()));
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{words}"))
    };
    let said = client(SECRET);
    assert_eq!(said["token"]["token_type"], "License");
    assert_eq!(said["token"]["expires_in"], 90 * 86_400);
    assert_eq!(
        (&said["introspection"]["active"], &said["introspection"]["permitted"]),
        (&true.into(), &true.into())
    );
    assert_eq!(said["with"], serde_json::json!({"status": 200, "body": "a work"}));
    assert_eq!(said["without"]["status"], 401);
    assert_eq!(client("a guess")["error"], "invalid_client");
}

/// As a client does it: the document is fetched where the challenge says, and each of its licences asked for as it stands there.
#[test]
fn every_licence_of_the_document_is_had_at_the_server_that_it_names() {
    let (origin, desk) = (site(), Desk::new());
    let byline = desk.serve(&origin.url(), POLICY);
    let document = byline.ask(get("/license.xml", ""));
    assert_eq!((document.status, document.field("content-type")), (200, "application/rsl+xml"));
    assert!(origin.untouched());
    let text = document.text();
    let server = format!("server=\"http://site.test{SERVER}\"");
    let mut had = 0;
    for content in text.split("<content ").skip(1).filter(|content| content.contains(&server)) {
        let url = content.split('"').nth(1).expect("a url");
        for license in content.split("<license>").skip(1) {
            let inner = license.split("</license>").next().expect("an end");
            let element = format!("<license>{inner}</license>");
            let answer = byline.ask(call("/token", &rich(), &asking(&element, url)));
            assert_eq!(answer.status, 200, "{url} {element}\n{}", answer.text());
            had += 1;
            let token = json(&answer)["access_token"].as_str().expect("a token").to_owned();
            assert_eq!(introspect(&byline, &token, url)["permitted"], true);
            // What the rules give to everybody gives nothing more with a token.
            if !inner.contains("subscription")
                && !inner.contains("attribution")
                && !inner.contains("\"free\"")
            {
                let path = url.replace('*', "1").replace('$', "");
                assert_ne!(
                    fetch(&byline, POOR, "PoorBot", &path, &format!("Authorization: License {token}\r\n"))
                        .status,
                    200
                );
            }
        }
    }
    assert!(had >= 4, "{text}");
}
