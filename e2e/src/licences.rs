//! Licences as the tests use them: a policy that offers some, clients that may have them, and what both sides say.

use serde_json::Value;
use tempfile::TempDir;

use crate::byline::{Byline, run};
use crate::client::{Answer, Client};
use crate::{config, configured};

/// The path of the licence server.
pub const SERVER: &str = "/.well-known/byline/licence";
/// The `license` element of the licence `training`, as a client copies it out of the document.
pub const TRAINING: &str = "<license xmlns=\"https://rslstandard.org/rsl\"><permits type='usage'> ai-train </permits>\
    <payment type=\"subscription\"><amount currency=\"USD\">1000</amount></payment></license>";
/// The one of `answers`, which is for anybody.
pub const ANSWERS: &str =
    "<license><permits type=\"usage\">ai-input</permits><payment type=\"attribution\"/></license>";
/// The one of `brief`, whose tokens are good for a second.
pub const BRIEF: &str =
    "<license><permits type=\"usage\">ai-train</permits><payment type=\"free\"/></license>";
/// The secret of the client `rich`.
pub const SECRET: &str = "correct horse: battery+staple";

/// A policy with licences for `/licensed/**`, which is for nobody else, and for `/paid/**`, which can be paid for as well.
pub const POLICY: &str = concat!(
    r#"
version = 1
mode = "enforce"

[[licence_offer]]
id = "training"
path = ["/licensed/**", "/paid/**"]
usage = "ai-train"
payment = "subscription"
price = "1000 USD"
operators = "rich-labs"
duration = "90d"

[[licence_offer]]
id = "answers"
path = "/licensed/**"
usage = "ai-input"
payment = "attribution"

[[licence_offer]]
id = "brief"
path = "/licensed/**"
usage = "ai-train"
payment = "free"
duration = "1s"

[[rule]]
name = "licensed"
path = ["/licensed/**", "/paid/**", "/other/**"]
assurance = "licensed"
allow = true

[[rule]]
name = "unlicensed"
path = ["/licensed/**", "/other/**"]
deny = true

[[rule]]
name = "paid"
path = "/paid/**"
charge = { price = "0.5 USD", per = "fetch", repeat_free = "0s" }

[[crawler]]
token = "AnswerBot"
operator = "rich-labs"
purpose = "ground"
ranges = ["127.0.0.2/32"]

[[account]]
operator = "rich-labs"
credit_limit = "500 USD"
accept = "up to 1 USD"
"#,
    config::crawlers!()
);

/// Keys and clients of a licence server.
pub struct Desk {
    dir: TempDir,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk::new()
    }
}

impl Desk {
    /// A key, and the clients `rich` and `poor`.
    pub fn new() -> Desk {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let desk = Desk { dir };
        desk.new_key();
        // `printf %s SECRET | sha256sum`
        let digest = "96fc99f869ca932ec3a7dec76897ec0ae0f3d26ec30cb83907107ae25730b835";
        let client = |id: &str, operator: &str| {
            format!("[[client]]\nid = \"{id}\"\noperator = \"{operator}\"\nsecret_sha256 = \"{digest}\"\n")
        };
        let clients = [client("rich", "rich-labs"), client("poor", "poor-labs")].concat();
        std::fs::write(desk.dir.path().join("clients.toml"), clients).expect("a temporary file");
        desk
    }

    /// Makes a new key beside the others.
    pub fn new_key(&self) {
        let said = run(["keys", "generate", "--dir", &self.keys()]);
        assert_eq!(said.code, 0, "{}", said.err);
    }

    /// The directory of its keys.
    pub fn keys(&self) -> String {
        self.dir.path().join("keys").display().to_string()
    }

    /// The lines of `byline.toml`.
    pub fn config(&self) -> String {
        format!(
            "[licence]\nkeys = \"{}\"\nclients = \"{}/clients.toml\"\n",
            self.keys(),
            self.dir.path().display()
        )
    }

    /// Byline with this desk and this policy in front of an origin.
    pub fn serve(&self, origin: &str, policy: &str) -> Byline {
        configured(config::site(origin, &format!("{}{}", config::POLICY, self.config())))
            .policy(policy)
            .start()
    }
}

/// What stands in a form.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The field by which a client says who it is.
pub fn basic(id: &str, secret: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{}:{}", encode(id), encode(secret));
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    format!("Authorization: Basic {out}\r\n")
}

/// A call of the licence server with a form.
pub fn call(endpoint: &str, lines: &str, form: &str) -> String {
    format!(
        "POST {SERVER}{endpoint} HTTP/1.1\r\nHost: site.test\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         {lines}Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

/// A form that asks for a licence.
pub fn asking(license: &str, resource: &str) -> String {
    format!(
        "grant_type=client_credentials&license={}&license_type=application%2Frsl%2Bxml&resource={}",
        encode(license),
        encode(resource)
    )
}

/// The JSON of an answer.
pub fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()))
}

/// Gets a token.
pub fn token(byline: &Byline, lines: &str, license: &str, resource: &str) -> String {
    let answer = byline.ask(call("/token", lines, &asking(license, resource)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    json(&answer)["access_token"].as_str().expect("a token").to_owned()
}

/// A fetch by a crawler from an address of its own, with these further lines.
pub fn fetch(byline: &Byline, from: [u8; 4], agent: &str, path: &str, lines: &str) -> Answer {
    let request = crate::get(path, &format!("User-Agent: {agent}/1.0\r\n{lines}"));
    Client::connect_from(from, byline.listen).ask(request)
}

/// The field by which a crawler shows a token.
pub fn license(token: &str) -> String {
    format!("Authorization: License {token}\r\n")
}
