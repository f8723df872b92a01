//! One policy, every signal: what sites publish through the proxy is what it enforces, and what they say themselves stays.

use std::net::SocketAddr;

use e2e::byline::Said;
use e2e::origin::Request;
use e2e::wait::{self, PATIENCE};
use e2e::{Byline, Origin, before, get};

/// The site's own robots.txt, with everything that must not be touched: odd spelling, CRLF, no line end at its end.
const OWN: &str = "# ours\r\nuser-agent: *\r\nDisallow: /cgi-bin/\r\nAllow:   /\r\n\r\nSitemap: https://site.test/sitemap.xml\r\nUser-agent: Googlebot\r\nDisallow: /no-google/";

const RULES: &str = r#"
[[rule]]
name = "training pays"
path = "/articles/**"
purpose = ["train", "data"]
charge = { price = "0.002 USD", per = "fetch" }

[[rule]]
name = "answers are free"
path = "/articles/**"
purpose = ["ground", "search"]
allow = true

[[rule]]
name = "private"
path = "/private/**"
deny = true
"#;

const GPTBOT: &str = "User-Agent: GPTBot/1.2\r\n";

fn policy(switches: &str) -> String {
    format!("version = 1\nmode = \"enforce\"\n{switches}{RULES}")
}

const ALL: &str = "[publish]\nrobots = true\ntdmrep = true\nrsl = true\nheaders = true\n";

fn answer(status: &str, lines: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{lines}\r\n{body}", body.len()).into_bytes()
}

fn site(request: &Request) -> Vec<u8> {
    match request.target.as_str() {
        "/robots.txt" => answer(
            "200 OK",
            "Content-Type: text/plain\r\nETag: \"own\"\r\nX-Own: 1\r\nAccept-Ranges: bytes\r\n",
            OWN,
        ),
        "/license.xml" | "/.well-known/tdmrep.json" => answer("404 Not Found", "", "nothing"),
        _ => answer("200 OK", "Content-Type: text/html\r\n", "<p>words</p>"),
    }
}

/// `byline lint` of the site as a stranger sees it.
fn lint(byline: &Byline, path: &str, policy: &str) -> Said {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("policy.toml");
    std::fs::write(&file, policy).expect("the temporary directory is writable");
    let address: SocketAddr = byline.listen;
    let url = format!("http://{address}{path}");
    e2e::byline::run(["lint".into(), url.into(), "--policy".into(), file.into_os_string()])
}

#[test]
fn what_is_published_is_what_is_enforced() {
    let origin = Origin::site(site);
    let text = policy(ALL);
    let byline = before(origin.url()).policy(text.as_str()).start();

    let robots = byline
        .ask(get("/robots.txt", "Accept-Encoding: gzip\r\nIf-None-Match: \"own\"\r\nRange: bytes=0-9\r\n"));
    assert_eq!(robots.status, 200);
    assert!(robots.text().contains(OWN), "the site's lines stay byte for byte: {}", robots.text());
    assert!(robots.text().contains("Disallow: /private/\n"), "{}", robots.text());
    assert!(robots.text().contains("License: http://site.test/license.xml\n"), "{}", robots.text());
    assert_eq!(robots.field("content-length"), robots.body.len().to_string());
    assert_eq!((robots.field("x-own"), robots.field("accept-ranges")), ("1", ""));
    let tag = robots.field("etag").to_owned();
    assert!(!tag.is_empty() && tag != "\"own\"");
    let again = byline.ask(get("/robots.txt", &format!("If-None-Match: {tag}\r\n")));
    assert_eq!((again.status, again.body.len(), again.field("etag")), (304, 0, tag.as_str()));
    let head = byline.ask("HEAD /robots.txt HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), robots.body.len().to_string());
    let crawlers = byline.ask(get("/robots.txt", GPTBOT));
    assert_eq!(crawlers.body, robots.body, "everybody gets the same");

    let license = byline.ask(get("/license.xml", GPTBOT));
    assert_eq!((license.status, license.field("content-type")), (200, "application/rsl+xml"));
    assert!(license.text().contains("0.002"), "{}", license.text());
    let reserved = byline.ask(get("/.well-known/tdmrep.json", ""));
    assert_eq!((reserved.status, reserved.field("content-type")), (200, "application/json"));

    let page = byline.ask(get("/articles/1", "User-Agent: Mozilla/5.0\r\n"));
    assert_eq!(page.text(), "<p>words</p>");
    assert_eq!(page.field("content-usage"), "train-ai=n, ai-use=y");
    assert_eq!(page.field("tdm-reservation"), "1");
    assert_eq!(
        page.field("link"),
        "<http://site.test/license.xml>; rel=\"license\"; type=\"application/rsl+xml\""
    );

    let head = byline.ask("HEAD /articles/1 HTTP/1.1\r\nHost: site.test\r\nUser-Agent: Mozilla/5.0\r\n\r\n");
    for field in ["content-usage", "tdm-reservation", "link"] {
        assert_eq!(head.fields.all(field), page.fields.all(field), "HEAD says the same: {field}");
    }

    let said = lint(&byline, "/articles/1", &text);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.ends_with("no contradiction\n"), "{}", said.out);
    // The same site under a policy that refuses what it offers.
    let other = text.replace("allow = true", "deny = true");
    let said = lint(&byline, "/articles/1", &other);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("promises-more"), "{}", said.out);
}

#[test]
fn without_the_switches_nothing_changes() {
    let origin = Origin::site(site);
    let byline = before(origin.url()).policy(policy("")).start();
    for (path, agent) in
        [("/robots.txt", ""), ("/robots.txt", GPTBOT), ("/articles/1", "User-Agent: Mozilla/5.0\r\n")]
    {
        let through = byline.ask(get(path, agent));
        let direct = e2e::client::ask(origin.addr(), get(path, agent));
        if agent != GPTBOT {
            assert_eq!(through.head, direct.head, "{path}");
        }
        assert_eq!(through.body, direct.body, "{path}");
    }
    for path in ["/license.xml", "/.well-known/tdmrep.json"] {
        assert_eq!(byline.ask(get(path, "")).status, 404, "{path}");
    }
}

#[test]
fn what_is_no_text_of_the_origins_is_passed_on() {
    const LONG: usize = 600_000;
    let origin = Origin::site(|request| match request.target.as_str() {
        "/robots.txt?gone" => answer("410 Gone", "Set-Cookie: a=b\r\n", "gone"),
        "/robots.txt?broken" => answer("503 Service Unavailable", "Retry-After: 9\r\n", "wait"),
        "/robots.txt?packed" => {
            answer("200 OK", "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", "not gzip")
        }
        "/robots.txt?page" => answer("200 OK", "Content-Type: text/html\r\n", "<p>"),
        "/robots.txt?long" => answer("200 OK", "Content-Type: text/plain\r\n", &"#".repeat(LONG)),
        "/robots.txt?endless" => {
            let chunk = format!("{LONG:x}\r\n{}\r\n0\r\n\r\n", "#".repeat(LONG));
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}").into_bytes()
        }
        _ => answer("200 OK", "", "x"),
    });
    let byline = before(origin.url()).policy(policy(ALL)).start();
    let ask = |query: &str| byline.ask(get(&format!("/robots.txt?{query}"), ""));
    let gone = ask("gone");
    assert_eq!((gone.status, gone.field("set-cookie")), (200, ""));
    assert!(gone.text().starts_with("# BEGIN byline\n"), "ours alone: {}", gone.text());
    let broken = ask("broken");
    assert_eq!((broken.status, broken.field("retry-after"), broken.text().as_str()), (503, "9", "wait"));
    let packed = ask("packed");
    assert_eq!((packed.field("content-encoding"), packed.text().as_str()), ("gzip", "not gzip"));
    assert_eq!(ask("page").text(), "<p>");
    assert_eq!(ask("long").body.len(), LONG);
    assert_eq!(ask("endless").body.len(), LONG);
}

#[test]
fn an_origin_that_says_otherwise_is_counted_and_found() {
    let origin = Origin::site(|request| match request.target.as_str() {
        "/robots.txt" => {
            answer("200 OK", "Content-Type: text/plain\r\n", "User-agent: GPTBot\nDisallow: /articles/\n")
        }
        "/articles/1" => answer(
            "200 OK",
            "Content-Type: text/html\r\ntdm-reservation: 0\r\nContent-Usage: ai-use=n\r\n",
            "x",
        ),
        _ => answer("404 Not Found", "", ""),
    });
    let text = policy(ALL).replace("mode = \"enforce\"", "mode = \"observe\"");
    let byline = before(origin.url()).policy(text.as_str()).start();
    let page = byline.ask(get("/articles/1", GPTBOT));
    assert_eq!(page.status, 200);
    assert_eq!(
        (page.field("content-usage"), page.field("tdm-reservation")),
        ("ai-use=n", "0"),
        "the site's own word stays"
    );
    byline.ask(get("/robots.txt", ""));
    let drift = |signal: &str, kind: &str| {
        let labels = [format!("signal=\"{signal}\""), format!("kind=\"{kind}\"")];
        byline.metric("byline_signal_drift_total", &[&labels[0], &labels[1]])
    };
    wait::until_true("the drift", PATIENCE, || drift("tdmrep", "promises-more") == 1.0);
    assert_eq!(drift("content-usage", "refuses-more"), 1.0);
    assert_eq!(drift("robots", "refuses-more"), 1.0);
    assert_eq!(drift("rsl", "licence-differs"), 0.0);
    let said = lint(&byline, "/articles/1", &text);
    assert_eq!(said.code, 1, "{said:?}");
    for found in ["[robots refuses-more]", "[tdmrep promises-more]", "[content-usage refuses-more]"] {
        assert!(said.out.contains(found), "{found} in {}", said.out);
    }
}

#[test]
fn files_are_written_and_judged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name).into_os_string();
    std::fs::write(at("policy.toml"), policy("")).expect("the temporary directory is writable");
    std::fs::create_dir(at("www")).expect("the temporary directory is writable");
    std::fs::write(at("www/robots.txt"), OWN).expect("the temporary directory is writable");
    let publish = || {
        e2e::byline::run([
            "publish".into(),
            "--dir".into(),
            at("www"),
            "--policy".into(),
            at("policy.toml"),
            "--host".into(),
            "site.test".into(),
        ])
    };
    let said = publish();
    assert_eq!(said.code, 0, "{said:?}");
    let read = |name: &str| std::fs::read_to_string(at(name)).expect("it was written");
    let robots = read("www/robots.txt");
    assert!(robots.contains(OWN), "{robots}");
    assert!(read("www/headers.nginx.conf").contains("\"~^/private/\""), "{}", read("www/headers.nginx.conf"));
    assert!(read("www/headers.Caddyfile").contains("path_regexp `^/articles/`"));
    // Writing again changes nothing.
    assert_eq!(publish().code, 0);
    assert_eq!(read("www/robots.txt"), robots);
    let lint = || {
        e2e::byline::run([
            "lint".into(),
            at("www/robots.txt"),
            at("www/license.xml"),
            at("www/.well-known/tdmrep.json"),
            "--policy".into(),
            at("policy.toml"),
            "--host".into(),
            "site.test".into(),
            "--format".into(),
            "json".into(),
        ])
    };
    let said = lint();
    assert_eq!(said.code, 0, "{said:?}");
    std::fs::write(at("www/robots.txt"), robots.replace("Disallow: /private/\n", "")).expect("writable");
    let said = lint();
    assert_eq!(said.code, 1, "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(report["findings"][0]["kind"], "promises-more");
    assert!(report["rows"].as_array().is_some_and(|rows| !rows.is_empty()));
    // What a book says of itself is judged by where the site has the book.
    std::fs::write(
        at("policy.toml"),
        "version = 1\n[[rule]]\nname = \"books\"\npath = \"/books/**\"\ndeny = true\n",
    )
    .expect("writable");
    std::fs::write(
        at("content.opf"),
        "<package><metadata><meta name=\"tdm:reservation\" content=\"0\"/></metadata></package>",
    )
    .expect("writable");
    let book = |path: &[&str]| {
        let given = ["lint".into(), at("content.opf"), "--policy".into(), at("policy.toml")];
        e2e::byline::run(given.into_iter().chain(path.iter().map(std::ffi::OsString::from)))
    };
    assert_eq!(book(&["--path", "/books/novel.epub"]).code, 1);
    assert_eq!(book(&["--path", "/free/novel.epub"]).code, 0);
    assert_eq!(book(&["--path", "books"]).code, 2);
    assert_eq!(book(&[]).code, 2);
    std::fs::write(at("policy.toml"), "version = 1\ncolour = 1\n").expect("writable");
    assert_eq!(lint().code, 3);
    assert_eq!(e2e::byline::run(["lint", "no-such-thing://x"]).code, 2);
    assert_eq!(e2e::byline::run(["lint"]).code, 2);
}
