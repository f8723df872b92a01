//! The texts of `byline.toml` and `policy.toml` that the tests use, in one place: when a key changes its name, it
//! changes here.

use crate::byline::Setup;

/// One site on the plain listener. `more` goes before any table.
pub fn site(upstream: &str, more: &str) -> String {
    format!("{}upstream = \"{upstream}\"\n{more}", base())
}

/// The listeners and the state, without any site.
pub fn base() -> String {
    "listen = \"{listen}\"\nadmin = \"{admin}\"\nstate = \"{state}\"\n".to_owned()
}

/// The line that names the policy's file.
pub const POLICY: &str = "policy = \"{policy}\"\n";

/// A second listener with TLS; `chain.pem` and `key.pem` lie in `{dir}`.
pub const TLS_LISTENER: &str =
    "[[listener]]\naddress = \"{tls}\"\ncertificate = \"{dir}/chain.pem\"\nkey = \"{dir}/key.pem\"\n";

/// A site with a TLS listener beside the plain one.
pub fn tls_site(upstream: &str) -> String {
    site(upstream, TLS_LISTENER)
}

/// A second listener whose clients send a PROXY protocol header.
pub const PROXY_LISTENER: &str = "[[listener]]\naddress = \"{tls}\"\nproxy_protocol = true\n";

/// Hosts and the origin behind them.
pub fn host(hosts: &[&str], upstream: &str) -> String {
    format!("[[site]]\nhosts = {hosts:?}\nupstream = \"{upstream}\"\n")
}

/// Where the first of [`CRAWLERS`] comes from; in [`SHOP`] it has an account.
pub const RICH: [u8; 4] = [127, 0, 0, 2];
/// Its user agent.
pub const RICH_AGENT: &str =
    "User-Agent: Mozilla/5.0 (compatible; RichBot/1.0; +https://rich.example/bot)\r\n";
/// Where the second of [`CRAWLERS`] comes from; it has no account.
pub const POOR: [u8; 4] = [127, 0, 0, 3];
/// Its user agent.
pub const POOR_AGENT: &str = "User-Agent: PoorBot/2.0\r\n";

/// Where the crawler of [`SHOP`] comes from that has an account, but agrees to prices one by one.
pub const CAREFUL: [u8; 4] = [127, 0, 0, 4];
/// Its user agent.
pub const CAREFUL_AGENT: &str = "User-Agent: CarefulBot/1.0\r\n";

/// [`CRAWLERS`], to be part of another text.
macro_rules! crawlers {
    () => {
        r#"
[[crawler]]
token = "RichBot"
operator = "rich-labs"
purpose = "train"
ranges = ["127.0.0.2/32"]

[[crawler]]
token = "PoorBot"
operator = "poor-labs"
purpose = "train"
ranges = ["127.0.0.3/32"]
"#
    };
}
pub(crate) use crawlers;

/// Two crawlers that are known by their networks. Who has an account is for each policy to say.
pub const CRAWLERS: &str = crawlers!();

/// A policy with a rule of each kind and three crawlers: one with a contract, one with an account, one with neither.
pub const SHOP: &str = concat!(
    r#"
version = 1
mode = "enforce"
currency = "USD"
contact = "mailto:rights@press.example"
licence = "https://press.example/licence"

[[holder]]
id = "press"
name = "The Press"

[[work]]
path = "/articles/**"
holder = "press"

[[rule]]
name = "articles"
path = "/articles/**"
require = "network"
charge = { price = "0.002 USD", per = "fetch", repeat_free = "1h" }

[[rule]]
name = "every"
path = "/every/**"
require = "network"
charge = { price = "0.001 USD", per = "fetch", repeat_free = "0s" }

[[rule]]
name = "data"
path = "/data/**"
require = "network"
charge = { price = "1 USD", per = "MB", max = "2 USD", repeat_free = "0s" }

[[rule]]
name = "drafts"
path = "/drafts/**"
deny = true

[[rule]]
name = "slow"
path = "/slow/**"
limit = { requests = 3, per = "1h" }

[[crawler]]
token = "CarefulBot"
operator = "careful-labs"
purpose = "train"
ranges = ["127.0.0.4/32"]

[[account]]
operator = "careful-labs"
credit_limit = "10 USD"

[[account]]
operator = "rich-labs"
credit_limit = "5000 USD"
accept = "up to 5 USD"
"#,
    crawlers!()
);

/// Keys of agents are fetched on this machine, and nothing is fetched elsewhere: the published lists that the registry names are
/// files in `{dir}`, and there is no name server.
pub fn loopback_identity(setup: Setup) -> Setup {
    published_lists().into_iter().fold(setup.online(), |setup, url| {
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
        let name: String = url.trim_start_matches("https://").chars().map(plain).collect();
        setup.file(&format!("lists/{name}"), "[\"192.0.2.0/24\"]")
    })
}

/// What [`loopback_identity`] needs in `byline.toml`; `networks` are those in which keys may be.
pub fn identity_table(networks: &[&str]) -> String {
    format!(
        "[identity]\nreverse_dns = false\nnameserver = \"127.0.0.1:9\"\nlists_dir = \"{{dir}}/lists\"\nagent_networks = {networks:?}\n"
    )
}

fn published_lists() -> Vec<&'static str> {
    let registry = include_str!("../../policy/data/crawlers.toml");
    let rows = registry.split("\nlists = [").skip(1).filter_map(|rest| rest.split(']').next());
    rows.flat_map(|list| list.split('"').filter(|word| word.starts_with("https://"))).collect()
}
