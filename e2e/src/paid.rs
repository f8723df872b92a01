//! A site that takes x402, in front of a facilitator and behind a crawler that pays: what the tests of payments share.

use serde_json::Value;

use crate::chain::{ASSET, Facilitator, NETWORK, PAY_TO, Payer, header, read_header};
use crate::config::{POLICY, site};
use crate::origin::ok;
use crate::wait::{self, PATIENCE};
use crate::{Answer, Byline, Origin, configured, get};

/// The user agent of the crawler that pays.
pub const AGENT: &str = "User-Agent: PayBot/1.0\r\n";
/// What a work costs, in the token's smallest unit.
pub const PRICE: u64 = 10_000;

/// A policy with a rule of each kind.
pub const SHOP: &str = r#"
version = 1
mode = "enforce"
currency = "USD"
licence = "https://press.example/licence"
contact = "rights@press.example"

[[rule]]
name = "articles"
path = "/articles/**"
charge = { price = "0.01 USD", per = "fetch" }

[[rule]]
name = "tiny"
path = "/tiny/**"
charge = { price = "0.0000001 USD", per = "fetch" }

[[rule]]
name = "volumes"
path = "/volumes/**"
charge = { price = "1 USD", per = "MB", max = "2 USD" }

[[rule]]
name = "signed"
path = "/signed/**"
require = "signed"
charge = { price = "0.01 USD", per = "fetch" }

[[rule]]
name = "drafts"
path = "/drafts/**"
deny = true

[[crawler]]
token = "PayBot"
operator = "pay-labs"
purpose = "train"
"#;

/// A `[[payment]]` of the token on the test network.
pub fn x402(more: &str) -> String {
    format!(
        "[[payment]]\nway = \"x402\"\nnetwork = \"{NETWORK}\"\nasset = \"{ASSET}\"\nasset_name = \"USDC\"\n\
         asset_version = \"2\"\ndecimals = 6\npay_to = \"{PAY_TO}\"\n{more}\n"
    )
}

/// A site of a few kinds of works.
pub fn press() -> Origin {
    Origin::site(|request| {
        if request.method == "HEAD" {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec();
        }
        match request.target.as_str() {
            "/articles/gone" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone".to_vec(),
            "/articles/broken" => b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".to_vec(),
            "/articles/same" => b"HTTP/1.1 304 Not Modified\r\nETag: \"s\"\r\n\r\n".to_vec(),
            "/articles/moved" => b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(),
            _ => ok("Content-Type: text/plain\r\nPayment-Response: forged\r\n", "hello"),
        }
    })
}

/// A site that takes x402, and is ready to.
pub fn shop(origin: &Origin, facilitator: &Facilitator, ways: &str) -> Byline {
    let config = site(&origin.url(), POLICY);
    let config = format!(
        "{config}[x402]\nfacilitator = \"{}\"\nverify = \"5s\"\nsettle = \"2s\"\n",
        facilitator.url()
    );
    let byline = configured(config).policy(format!("{SHOP}{ways}")).start();
    offering(&byline);
    byline
}

/// Waits until the facilitator has said what it settles.
pub fn offering(byline: &Byline) {
    wait::until_true("an offer", PATIENCE, || {
        let answer = ask(byline, "/articles/ready", "");
        answer.fields.has("payment-required") || answer.text().contains("x402Version")
    });
}

/// One request of the crawler.
pub fn ask(byline: &Byline, path: &str, lines: &str) -> Answer {
    byline.ask(get(path, &format!("{AGENT}{lines}")))
}

/// What is asked for a work.
pub fn required(byline: &Byline, path: &str) -> Value {
    let answer = ask(byline, path, "");
    assert_eq!(answer.status, 402, "{}", answer.text());
    read_header(answer.field("payment-required"))
}

/// One request of the crawler with a payment.
pub fn pay(byline: &Byline, path: &str, payment: &Value) -> Answer {
    ask(byline, path, &format!("Payment-Signature: {}\r\n", header(payment)))
}

/// A version of x402, as a client speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `X-PAYMENT`; offers in the body.
    V1,
    /// `PAYMENT-SIGNATURE`; offers in a header.
    V2,
}

impl Dialect {
    /// Both.
    pub const ALL: [Dialect; 2] = [Dialect::V1, Dialect::V2];

    /// What an answer offers.
    pub fn offer_of(self, answer: &Answer) -> Value {
        match self {
            Dialect::V1 => serde_json::from_slice(&answer.body).unwrap_or_default(),
            Dialect::V2 => read_header(answer.field("payment-required")),
        }
    }

    /// Whether an answer offers anything.
    pub fn is_offered(self, answer: &Answer) -> bool {
        match self {
            Dialect::V1 => answer.text().contains("x402Version"),
            Dialect::V2 => answer.fields.has("payment-required"),
        }
    }

    /// A payment for a work.
    pub fn payment(self, byline: &Byline, path: &str, payer: &Payer, nonce: u64) -> Value {
        let answer = ask(byline, path, "");
        assert_eq!(answer.status, 402, "{}", answer.text());
        let offer = self.offer_of(&answer);
        match self {
            Dialect::V1 => payer.pays_v1(&offer, nonce),
            Dialect::V2 => payer.pays(&offer, nonce),
        }
    }

    /// The line of a request that pays.
    pub fn line(self, payment: &Value) -> String {
        let name = if self == Dialect::V1 { "X-Payment" } else { "Payment-Signature" };
        format!("{name}: {}\r\n", header(payment))
    }

    /// One request of the crawler with a payment.
    pub fn pay(self, byline: &Byline, path: &str, payment: &Value) -> Answer {
        ask(byline, path, &self.line(payment))
    }

    /// Where an answer tells what became of a payment.
    pub fn result_field(self) -> &'static str {
        if self == Dialect::V1 { "x-payment-response" } else { "payment-response" }
    }

    /// What became of a payment.
    pub fn result(self, answer: &Answer) -> Value {
        read_header(answer.field(self.result_field()))
    }
}

/// What was paid, by the records: in nano-units.
pub fn earned(byline: &Byline) -> i64 {
    let amount = |record: &Value| record["amount_nano"].as_str().and_then(|nano| nano.parse::<i64>().ok());
    byline.records().iter().filter_map(amount).sum()
}

/// Records, facilitator and statement say the same.
pub fn agree(byline: &Byline, facilitator: &Facilitator) {
    let earned = earned(byline);
    assert_eq!(earned, facilitator.total() as i64 * 1_000, "records and chain: {:?}", byline.records());
    let statement = byline.statement(&[]);
    let nano = |text: &Value| {
        let (whole, part) =
            text.as_str().unwrap_or_default().split_once('.').unwrap_or((text.as_str().unwrap_or("0"), ""));
        format!("{whole}{part:0<9}").parse::<i64>().expect("a decimal number")
    };
    assert_eq!(nano(&statement["total"]), earned, "{statement}");
    assert_eq!(nano(&statement["total_settled"]), earned, "{statement}");
    assert_eq!(statement["payable"], "0.00", "{statement}");
    assert_eq!(statement["findings_count"], 0, "{statement}");
    assert_eq!(byline.verify().code, 0);
}
