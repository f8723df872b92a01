//! `byline.toml`: listeners, sites, limits and the ledger's place. Read at start; the policy is the live part.
//!
//! A text is read key by key, so that every problem is reported at once with its place, and becomes a [`Config`], which is
//! all that the rest of the code sees. Flags win over the file.

mod licence;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use policy::fields::{At, Fields, Place, Report, parse};
use policy::protocol::bot_auth;
use policy::{Diagnostic, Mode, Source};

pub(crate) use licence::LicenceSettings;

use crate::headers::{Announce, Via};
use crate::payment::facilitator::{FacilitatorSettings, FacilitatorUrl};
use crate::payment::{PaymentSettings, ReceiptSettings};
use crate::units;
use crate::upstream::{Origin, UpstreamTimeouts};

/// Where to accept clients.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) place: ListenAt,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) proxy_protocol: bool,
}

/// Where a listener's socket comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAt {
    /// Bound to this address, unless a socket was passed that is.
    Address(SocketAddr),
    /// All sockets that the service manager passes under this name.
    Named(String),
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAt::Address(address) => address.fmt(f),
            ListenAt::Named(name) => name.fmt(f),
        }
    }
}

/// A certificate chain and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Hosts and the origin behind them.
#[derive(Debug)]
pub(crate) struct Site {
    /// Exact names, `*.example.org` for any subdomain, `*` for every host.
    pub(crate) hosts: Vec<String>,
    pub(crate) origin: Origin,
}

/// Time limits; see docs/limits.md.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) request_head: Duration,
    pub(crate) body_silence: Duration,
    pub(crate) tunnel_silence: Duration,
    pub(crate) upstream: UpstreamTimeouts,
    pub(crate) lame_duck: Duration,
    pub(crate) drain: Duration,
    pub(crate) drain_tunnels: Duration,
    pub(crate) successor: Duration,
}

/// Size and number limits; see docs/limits.md.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    /// If configured; else a [`share`] of the connections that the system's descriptors allow.
    pub(crate) connections_per_client: Option<usize>,
    pub(crate) requests: usize,
    pub(crate) requests_per_client: usize,
    pub(crate) requests_per_site: usize,
    /// Resident bytes above which work is shed; unless configured, most of what there is.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) head_bytes: usize,
    pub(crate) headers: usize,
    pub(crate) streams_per_connection: u32,
    pub(crate) hold_bytes: usize,
}

/// The ledger's settings.
#[derive(Clone, Debug)]
pub(crate) struct LedgerSettings {
    pub(crate) origin: String,
    pub(crate) segment_bytes: u64,
    pub(crate) queue_entries: usize,
    pub(crate) probe_interval: Duration,
    pub(crate) claimed_per_second: u32,
}

/// How published address lists and reverse DNS are used.
#[derive(Clone, Debug)]
pub(crate) struct IdentitySettings {
    pub(crate) fetch: bool,
    pub(crate) lists_dir: Option<PathBuf>,
    pub(crate) reverse_dns: bool,
    pub(crate) nameserver: Option<SocketAddr>,
    pub(crate) agents: bool,
    pub(crate) agent_networks: Vec<IpNet>,
    pub(crate) signatures: bot_auth::Settings,
}

/// The agent's own key directory, served to those who verify what it signs.
#[derive(Clone, Debug)]
pub(crate) struct KeyDirectorySettings {
    /// Under which names; lower case, without ports.
    pub(crate) hosts: Vec<String>,
    /// Directory of the key files.
    pub(crate) keys: PathBuf,
    /// How long a copy may be kept.
    pub(crate) max_age: Duration,
}

/// Everything that a start needs.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) admin: SocketAddr,
    pub(crate) state: PathBuf,
    pub(crate) policy: Option<PathBuf>,
    pub(crate) mode: Option<policy::Mode>,
    pub(crate) sites: Vec<Site>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) announce: Announce,
    pub(crate) threads: usize,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) ledger: LedgerSettings,
    pub(crate) identity: IdentitySettings,
    pub(crate) key_directory: Option<KeyDirectorySettings>,
    pub(crate) licence: LicenceSettings,
    pub(crate) payment: PaymentSettings,
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) upstream: Option<String>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) policy: Option<PathBuf>,
    pub(crate) mode: Option<policy::Mode>,
    pub(crate) offline: bool,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// Everything that is wrong with it.
    #[error("{}", policy::render(diagnostics))]
    Invalid { diagnostics: Vec<Diagnostic> },
}

/// Diagnostics shown of one file.
const DIAGNOSTICS_MAX: usize = 200;
/// How far apart the clocks of those who sign and of this machine may be said to be.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(3_600);
/// How long a signature may be said to be good: a century. What is spent is remembered for as long.
const SIGNATURE_WINDOW_MAX: Duration = Duration::from_secs(36_525 * 86_400);

/// Reads the file, if one is named, lays the flags over it and checks everything.
pub(crate) fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let source = match path {
        None => Source { name: "command line".to_owned(), text: String::new() },
        Some(path) => crate::policy_file::read(path)
            .map_err(|source| ConfigError::Unreadable { path: path.display().to_string(), source })?,
    };
    compile(source, overrides).map_err(|diagnostics| ConfigError::Invalid { diagnostics })
}

/// Compiles a configuration's text.
pub(crate) fn compile(source: Source, overrides: &Overrides) -> Result<Config, Vec<Diagnostic>> {
    let report = Report::default();
    let config = parse(&report, source, "the configuration", |fields| read(&report, fields, overrides));
    if report.has_errors() { Err(report.finish(DIAGNOSTICS_MAX).1) } else { Ok(config) }
}

/// One table of the file, read key by key.
struct Table<'r, 'a, 'i> {
    report: &'r Report,
    fields: Fields<'a, 'i>,
}

impl Table<'_, '_, '_> {
    /// A value in a string, if the key is there and the string can be read.
    fn value<T>(&self, text: Option<At<String>>, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = text?;
        match read(&text.value) {
            Ok(value) => Some(value),
            Err(help) => {
                self.report.error_help(text.place, format!("`{}` cannot be used here", text.value), help);
                None
            }
        }
    }

    fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.value(self.fields.string(key), units::duration).unwrap_or(default)
    }

    fn bytes(&self, key: &'static str, default: u64) -> u64 {
        self.value(self.fields.quantity(key), units::bytes).unwrap_or(default)
    }

    fn count(&self, key: &'static str, default: usize) -> usize {
        self.count_if_any(key).unwrap_or(default)
    }

    fn count_if_any(&self, key: &'static str) -> Option<usize> {
        self.fields.positive(key).map(|at| usize::try_from(at.value).unwrap_or(usize::MAX))
    }

    fn flag(&self, key: &'static str, default: bool) -> bool {
        self.fields.boolean(key).map_or(default, |at| at.value)
    }

    fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.fields.string(key).map(|at| PathBuf::from(at.value))
    }

    fn address(&self, text: Option<At<String>>) -> Option<SocketAddr> {
        self.value(text, |text| {
            text.parse().map_err(|_| "an address reads like 0.0.0.0:8080 or [::]:8080".to_owned())
        })
    }
}

fn read(report: &Report, fields: Fields<'_, '_>, overrides: &Overrides) -> Config {
    let top = Table { report, fields };
    let secs = Duration::from_secs;
    let config = Config {
        listeners: listeners(&top, overrides),
        admin: top
            .address(top.fields.string("admin"))
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8402))),
        state: top.path("state").unwrap_or_else(|| PathBuf::from("byline-state")),
        policy: top.path("policy"),
        mode: top.value(top.fields.string("mode"), |word| {
            Mode::parse(word).ok_or_else(|| "the modes are observe and enforce".to_owned())
        }),
        sites: sites(&top, overrides),
        trusted_proxies: networks(&top, "trusted_proxies"),
        announce: Announce {
            forwarded: top.flag("forwarded", false),
            via: top.value(top.fields.string("via"), |name| {
                Via::under(name)
                    .ok_or_else(|| "a name for Via is a host or a word, without spaces".to_owned())
            }),
            upgrades: upgrades(&top),
        },
        threads: top.count("threads", std::thread::available_parallelism().map_or(1, usize::from)).min(256),
        timeouts: section(&top, "timeouts", "`[timeouts]`", |table| Timeouts {
            request_head: table.duration("request_head", secs(30)),
            body_silence: table.duration("body_silence", secs(60)),
            tunnel_silence: table.duration("tunnel_silence", secs(300)),
            upstream: UpstreamTimeouts {
                connect: table.duration("connect", secs(5)),
                response_head: table.duration("response_head", secs(60)),
            },
            lame_duck: table.duration("lame_duck", secs(0)),
            drain: table.duration("drain", secs(30)),
            drain_tunnels: table.duration("drain_tunnels", secs(5)),
            successor: table.duration("successor", secs(30)),
        }),
        limits: section(&top, "limits", "`[limits]`", limits),
        ledger: section(&top, "ledger", "`[ledger]`", |table| LedgerSettings {
            origin: table
                .fields
                .string("origin")
                .map_or_else(|| "localhost/ledger".to_owned(), |at| at.value),
            segment_bytes: table.bytes("segment", 64 << 20),
            queue_entries: table.count("queue_entries", 8192),
            probe_interval: table.duration("probe_interval", secs(1)),
            claimed_per_second: u32::try_from(table.count("claimed_per_second", 100)).unwrap_or(u32::MAX),
        }),
        payment: section(&top, "x402", "`[x402]`", payment),
        identity: section(&top, "identity", "`[identity]`", |table| IdentitySettings {
            fetch: table.flag("fetch", true) && !overrides.offline,
            lists_dir: table.path("lists_dir"),
            reverse_dns: table.flag("reverse_dns", true) && !overrides.offline,
            nameserver: table.address(table.fields.string("nameserver")),
            agents: table.flag("agents", true) && !overrides.offline,
            agent_networks: networks(table, "agent_networks"),
            signatures: section(table, "signatures", "`[identity.signatures]`", signatures),
        }),
        key_directory: key_directory(&top),
        licence: section(&top, "licence", "`[licence]`", licence::licence),
    };
    top.fields.finish();
    Config {
        admin: overrides.admin.unwrap_or(config.admin),
        state: overrides.state.clone().unwrap_or(config.state),
        policy: overrides.policy.clone().or(config.policy),
        mode: overrides.mode.or(config.mode),
        ..config
    }
}

fn payment(table: &Table<'_, '_, '_>) -> PaymentSettings {
    let url = table.value(table.fields.string("facilitator"), FacilitatorUrl::parse);
    let authorization = table.path("authorization");
    let (verify, settle) = (Duration::from_secs(10), Duration::from_secs(60));
    let (verify, settle) = (table.duration("verify", verify), table.duration("settle", settle));
    let facilitator = url.map(|url| FacilitatorSettings { url, authorization, verify, settle });
    let signs_offers = table.flag("sign_offers", false);
    let receipt = match (table.path("receipt_key"), table.fields.string("receipt_kid")) {
        (Some(key), Some(kid)) => Some(ReceiptSettings { key, kid: kid.value, signs_offers }),
        (None, None) if !signs_offers => None,
        (None, None) => {
            let help = "offers are signed with receipt_key, and receipt_kid names it";
            table.report.error_help(table.fields.place, "sign_offers needs a key", help);
            None
        }
        _ => {
            let help = "a PEM file with an Ed25519 key, and the DID URL under which its public part is found";
            let message = "receipt_key and receipt_kid go together";
            table.report.error_help(table.fields.place, message, help);
            None
        }
    };
    PaymentSettings { facilitator, receipt }
}

/// What is accepted where the drafts of Web Bot Auth differ, or leave it to who verifies.
fn signatures(table: &Table<'_, '_, '_>) -> bot_auth::Settings {
    let default = bot_auth::Settings::default();
    let seconds = |key, default: i64, max: Duration| {
        let within = |text: &str| match units::duration(text)? {
            duration if duration > max => Err(format!("at most {} seconds", max.as_secs())),
            duration => Ok(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)),
        };
        table.value(table.fields.string(key), within).unwrap_or(default)
    };
    bot_auth::Settings {
        skew_s: seconds("clock_skew", default.skew_s, CLOCK_SKEW_MAX),
        window_s_max: seconds("window", default.window_s_max, SIGNATURE_WINDOW_MAX),
        string_agents: table.flag("string_agents", default.string_agents),
        typed_agents: table.flag("typed_agents", default.typed_agents),
        member_is_label: table.flag("member_is_label", default.member_is_label),
        agent_required: table.flag("agent_required", default.agent_required),
        refuse_other_tags: table.flag("refuse_other_tags", default.refuse_other_tags),
        bare_keys: table.flag("bare_keys", default.bare_keys),
        other_media_types: table.flag("other_media_types", default.other_media_types),
        ..default
    }
}

/// How much one may have of what all share: whoever takes all that they can get leaves a quarter to the others.
pub(crate) fn share(all: usize) -> usize {
    (all - all / 4).max(1)
}

fn limits(table: &Table<'_, '_, '_>) -> Limits {
    let requests = table.count("requests", 4_096);
    let requests_per_site = table.count("requests_per_site", share(requests));
    Limits {
        connections: table.count("connections", 16_384),
        connections_per_client: table.count_if_any("connections_per_client"),
        requests,
        // Less than a site takes, or one client could fill it.
        requests_per_client: table.count("requests_per_client", requests_per_site.div_ceil(2)),
        requests_per_site,
        memory_bytes: table.value(table.fields.quantity("memory"), units::bytes),
        head_bytes: usize::try_from(table.bytes("head", 64 << 10)).unwrap_or(usize::MAX),
        headers: table.count("headers", 128).clamp(16, 1024),
        streams_per_connection: u32::try_from(table.count("streams_per_connection", 128)).unwrap_or(u32::MAX),
        hold_bytes: usize::try_from(table.bytes("hold", 64 << 20)).unwrap_or(usize::MAX),
    }
}

/// Reads a table that may be missing: then every key has its default.
fn section<T>(
    top: &Table<'_, '_, '_>,
    key: &'static str,
    what: &'static str,
    read: impl Fn(&Table<'_, '_, '_>) -> T,
) -> T {
    match top.fields.table(key, what) {
        Some(fields) => {
            let table = Table { report: top.report, fields };
            let value = read(&table);
            table.fields.finish();
            value
        }
        None => {
            let nothing = toml::de::DeTable::new();
            let fields = Fields::new(top.report, &nothing, top.fields.place, what);
            read(&Table { report: top.report, fields })
        }
    }
}

fn listeners(top: &Table<'_, '_, '_>, overrides: &Overrides) -> Vec<Listener> {
    let plain = |address| Listener { place: ListenAt::Address(address), tls: None, proxy_protocol: false };
    let mut listeners: Vec<Listener> =
        top.address(top.fields.string("listen")).map(plain).into_iter().collect();
    for fields in top.fields.tables("listener", "`[[listener]]`") {
        let table = Table { report: top.report, fields };
        let place = listen_at(&table);
        let tls = match (table.path("certificate"), table.path("key")) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => {
                let help = "a TLS listener names both: certificate and key, PEM files";
                top.report.error_help(table.fields.place, "certificate and key go together", help);
                None
            }
        };
        let proxy_protocol = table.flag("proxy_protocol", false);
        table.fields.finish();
        listeners.extend(place.map(|place| Listener { place, tls, proxy_protocol }));
    }
    match overrides.listen {
        Some(address) => vec![plain(address)],
        None if listeners.is_empty() => vec![plain(SocketAddr::from(([127, 0, 0, 1], 8080)))],
        None => listeners,
    }
}

fn listen_at(table: &Table<'_, '_, '_>) -> Option<ListenAt> {
    let (address, socket) = (table.fields.string("address"), table.fields.string("socket"));
    let help = "write address = \"0.0.0.0:443\", or socket = \"NAME\" for what the service manager passes";
    match (address, socket) {
        (Some(address), None) => table.address(Some(address)).map(ListenAt::Address),
        (None, Some(name)) => Some(ListenAt::Named(name.value)),
        (None, None) => {
            table.report.error_help(table.fields.place, "`[[listener]]` says not where to listen", help);
            None
        }
        (Some(_), Some(name)) => {
            table.report.error_help(name.place, "`address` and `socket` exclude each other", help);
            None
        }
    }
}

fn sites(top: &Table<'_, '_, '_>, overrides: &Overrides) -> Vec<Site> {
    let mut sites = Vec::new();
    let mut add =
        |hosts: Vec<String>, upstream: &str, place: Place| match Origin::parse(sites.len(), upstream) {
            Ok(origin) => sites.push(Site { hosts, origin }),
            Err(why) => top.report.error(place, why),
        };
    for fields in top.fields.tables("site", "`[[site]]`") {
        let table = Table { report: top.report, fields };
        let place = table.fields.place;
        let hosts = table.fields.strings("hosts");
        let upstream = table.fields.required("upstream", "write upstream = \"http://127.0.0.1:3000\"");
        if hosts.as_ref().is_none_or(Vec::is_empty) {
            let help = "write hosts = [\"example.org\", \"*.example.org\"]";
            top.report.error_help(place, "`[[site]]` names no hosts", help);
        }
        table.fields.finish();
        let hosts = hosts.unwrap_or_default().into_iter().map(|at| at.value.to_ascii_lowercase()).collect();
        if let Some(upstream) = upstream {
            add(hosts, &upstream.value, upstream.place);
        }
    }
    if let Some(At { value, place }) = top.fields.string("upstream").filter(|_| overrides.upstream.is_none())
    {
        add(vec!["*".to_owned()], &value, place);
    }
    if let Some(url) = &overrides.upstream {
        match Origin::parse(sites.len(), url) {
            Ok(origin) => sites.push(Site { hosts: vec!["*".to_owned()], origin }),
            Err(why) => top.report.error(top.fields.place, format!("--upstream: {why}")),
        }
    }
    if sites.is_empty() && !top.report.has_errors() {
        let help = "say --upstream http://127.0.0.1:3000, or write a [[site]] with hosts and upstream";
        top.report.error_help(top.fields.place, "there is no site to stand in front of", help);
    }
    sites
}

fn key_directory(top: &Table<'_, '_, '_>) -> Option<KeyDirectorySettings> {
    let table = Table { report: top.report, fields: top.fields.table("key_directory", "`[key_directory]`")? };
    let place = table.fields.place;
    let hosts = table.fields.strings("hosts");
    let keys = table
        .fields
        .required("keys", "write keys = \"/etc/byline/keys\", where `byline keys generate` puts them");
    let max_age = table.duration("max_age", Duration::from_secs(3600));
    table.fields.finish();
    let help = "write hosts = [\"bot.example\"], the names that stand in Signature-Agent";
    let listed = hosts.unwrap_or_default();
    if listed.is_empty() {
        top.report.error_help(place, "`[key_directory]` names no hosts", help);
    }
    for At { value, place } in &listed {
        if value.is_empty() || value.contains(['*', '/', ':']) {
            top.report.error_help(*place, format!("`{value}` is not the name of a host"), help);
        }
    }
    let hosts = listed.into_iter().map(|at| at.value.to_ascii_lowercase()).collect();
    Some(KeyDirectorySettings { hosts, keys: PathBuf::from(keys?.value), max_age })
}

fn networks(table: &Table<'_, '_, '_>, key: &'static str) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for At { value, place } in table.fields.strings(key).unwrap_or_default() {
        match value.parse::<IpNet>().or_else(|_| value.parse::<std::net::IpAddr>().map(IpNet::from)) {
            Ok(net) => networks.push(net),
            Err(_) => {
                let help = "write a network such as 10.0.0.0/8, or an address";
                table.report.error_help(place, format!("`{value}` is not a network"), help);
            }
        }
    }
    networks
}

fn upgrades(top: &Table<'_, '_, '_>) -> Vec<String> {
    let Some(listed) = top.fields.strings("upgrades") else { return vec!["websocket".to_owned()] };
    for At { value, place } in &listed {
        if value.eq_ignore_ascii_case("h2c") {
            let help = "HTTP/2 without TLS begins with prior knowledge here";
            top.report.error_help(*place, "`h2c` is never passed on", help);
        }
    }
    listed.into_iter().map(|at| at.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(text: &str) -> Result<Config, Vec<Diagnostic>> {
        compile(Source { name: "byline.toml".to_owned(), text: text.to_owned() }, &Overrides::default())
    }

    #[test]
    fn every_problem_is_reported_with_its_place() {
        let text = "listen = \"nowhere\"\nthread = 2\n[timeouts]\nconnect = \"5\"\n[[site]]\nupstream = \"ftp://x\"\n\
                    [[listener]]\naddress = \"127.0.0.1:1\"\nkey = \"k.pem\"\n";
        let found = compiled(text).expect_err("five mistakes");
        let places: Vec<(usize, usize)> = found.iter().map(|one| (one.line, one.column)).collect();
        assert_eq!(places, [(1, 10), (2, 1), (4, 11), (5, 1), (6, 12), (7, 1)], "{}", policy::render(&found));
    }

    #[test]
    fn a_full_configuration_reads_as_written() {
        let text = "listen = \"127.0.0.1:0\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n\
                    [[site]]\nhosts = [\"A.example\"]\nupstream = \"https://origin.example:8443\"\n\
                    [limits]\nhead = \"32KiB\"\n[timeouts]\nconnect = \"250ms\"\n[identity]\nfetch = false\n";
        let config = compiled(text).expect("a configuration");
        assert_eq!(config.sites[0].hosts, ["a.example"]);
        assert_eq!(config.limits.head_bytes, 32 << 10);
        assert_eq!(config.timeouts.upstream.connect, Duration::from_millis(250));
        assert_eq!(config.trusted_proxies.len(), 2);
        assert!(!config.identity.fetch && config.identity.reverse_dns);
        assert_eq!(config.announce.upgrades, ["websocket"]);
    }

    #[test]
    fn what_is_accepted_of_signatures_is_the_operators_choice() {
        let of = |text: &str| {
            let text = format!("upstream = \"http://127.0.0.1:1\"\n[identity.signatures]\n{text}\n");
            compiled(&text).map(|config| config.identity.signatures)
        };
        assert_eq!(of(""), Ok(bot_auth::Settings::default()));
        let strict = of(
            "clock_skew = \"0s\"\nwindow = \"5m\"\nstring_agents = false\ntyped_agents = false\n\
                         member_is_label = true\nagent_required = true\nrefuse_other_tags = true\nbare_keys = false\n\
                         other_media_types = true",
        );
        let expected = bot_auth::Settings {
            skew_s: 0,
            window_s_max: 300,
            string_agents: false,
            typed_agents: false,
            member_is_label: true,
            agent_required: true,
            refuse_other_tags: true,
            bare_keys: false,
            other_media_types: true,
            ..bot_auth::Settings::default()
        };
        assert_eq!(strict, Ok(expected));
        assert_eq!(of("window = \"36525d\"").map(|settings| settings.window_s_max), Ok(3_155_760_000));
        for (wrong, column) in
            [("clock_skew = \"61m\"", 14), ("window = \"36526d\"", 10), ("windows = \"1d\"", 1)]
        {
            let found = of(wrong).expect_err(wrong);
            assert_eq!((found.len(), found[0].line, found[0].column), (1, 3, column), "{wrong}");
        }
    }

    #[test]
    fn one_client_may_have_half_of_what_one_site_may() {
        let of = |text: &str| {
            let text = format!("upstream = \"http://127.0.0.1:1\"\n[limits]\n{text}\n");
            let Limits { requests, requests_per_site, requests_per_client, .. } =
                compiled(&text).expect("a configuration").limits;
            (requests, requests_per_site, requests_per_client)
        };
        assert_eq!(of(""), (4096, 3072, 1536));
        assert_eq!(of("requests = 100"), (100, 75, 38));
        assert_eq!(of("requests_per_site = 7"), (4096, 7, 4));
        assert_eq!(of("requests = 1"), (1, 1, 1));
        assert_eq!(of("requests_per_client = 9"), (4096, 3072, 9));
    }

    #[test]
    fn a_facilitator_is_named_in_full() {
        let of = |text: &str| compiled(&format!("upstream = \"http://127.0.0.1:1\"\n[x402]\n{text}\n"));
        let good =
            of("facilitator = \"https://x402.example/a/\"\nsettle = \"30s\"").expect("a configuration");
        let facilitator = good.payment.facilitator.expect("a facilitator");
        assert_eq!((facilitator.verify.as_secs(), facilitator.settle.as_secs()), (10, 30));
        assert!(of("").expect("a configuration").payment.facilitator.is_none());
        for text in [
            "facilitator = \"http://x402.example\"",
            "facilitator = \"x402.example\"",
            "facilitators = \"https://x402.example\"",
            "receipt_key = \"key.pem\"",
            "receipt_kid = \"did:web:a#1\"",
            "sign_offers = true",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_break_a_head_is_refused() {
        for text in
            ["via = \"a b\"", "via = \"a, 1.1 b\"", "via = \"\"", "upgrades = [\"websocket\", \"H2C\"]"]
        {
            let site = "upstream = \"http://127.0.0.1:1\"\n";
            assert!(compiled(&format!("{site}{text}")).is_err(), "{text}");
        }
    }
}
