//! `byline.toml`: listeners, sites, limits and the ledger's place. Read at start; the policy is the live part.
//!
//! What serde reads is turned once into [`Config`], which is all that the rest of the code sees. Flags win over the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use serde::Deserialize;

use crate::headers::Announce;
use crate::units;
use crate::upstream::{Origin, UpstreamTimeouts};

/// Where to accept clients.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) proxy_protocol: bool,
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
    pub(crate) upstream: UpstreamTimeouts,
    pub(crate) lame_duck: Duration,
    pub(crate) drain: Duration,
}

/// Size and number limits; see docs/limits.md.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) requests: usize,
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    admin: Option<String>,
    state: Option<PathBuf>,
    policy: Option<PathBuf>,
    mode: Option<String>,
    upstream: Option<String>,
    threads: Option<usize>,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    #[serde(default)]
    forwarded: bool,
    via: Option<String>,
    #[serde(default)]
    listener: Vec<ListenerTable>,
    #[serde(default)]
    site: Vec<SiteTable>,
    #[serde(default)]
    timeouts: TimeoutsTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    ledger: LedgerTable,
    #[serde(default)]
    identity: IdentityTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerTable {
    address: String,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    proxy_protocol: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteTable {
    hosts: Vec<String>,
    upstream: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeoutsTable {
    request_head: Option<String>,
    body_silence: Option<String>,
    connect: Option<String>,
    response_head: Option<String>,
    lame_duck: Option<String>,
    drain: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    connections: Option<usize>,
    requests: Option<usize>,
    head: Option<String>,
    headers: Option<usize>,
    streams_per_connection: Option<u32>,
    hold: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerTable {
    origin: Option<String>,
    segment: Option<String>,
    queue_entries: Option<usize>,
    probe_interval: Option<String>,
    claimed_per_second: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityTable {
    fetch: Option<bool>,
    lists_dir: Option<PathBuf>,
    reverse_dns: Option<bool>,
    nameserver: Option<String>,
}

/// The configuration is invalid: each string is one problem, ready to print.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub(crate) struct Invalid {
    pub(crate) problems: Vec<String>,
}

/// Reads the file, if one is named, lays the flags over it and checks everything.
pub(crate) fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, Invalid> {
    let Some(path) = path else { return compile(File::default(), "command line", overrides) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Invalid { problems: vec![format!("{name}: cannot be read: {error}")] })?;
    let file: File =
        toml::from_str(&text).map_err(|error| Invalid { problems: vec![explain(&name, &text, &error)] })?;
    compile(file, &name, overrides)
}

fn explain(name: &str, text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text[..at].matches('\n').count() + 1;
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let column = text[start..at].chars().count() + 1;
    let excerpt = text.lines().nth(line - 1).unwrap_or_default();
    format!("{name}:{line}:{column}: {}\n    {excerpt}", error.message())
}

/// Collects problems while values are read.
struct Reader<'a> {
    name: &'a str,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn value<T>(
        &mut self,
        key: &str,
        text: Option<&str>,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = text else { return default };
        match read(text) {
            Ok(value) => value,
            Err(why) => {
                self.problems.push(format!("{}: {key}: {why}", self.name));
                default
            }
        }
    }

    fn duration(&mut self, key: &str, text: Option<&String>, default_secs: u64) -> Duration {
        self.value(key, text.map(String::as_str), Duration::from_secs(default_secs), units::duration)
    }

    fn address(&mut self, key: &str, text: Option<&str>, default: SocketAddr) -> SocketAddr {
        self.value(key, text, default, |text| {
            text.parse().map_err(|_| format!("`{text}` is not an address such as 0.0.0.0:8080"))
        })
    }
}

fn compile(file: File, name: &str, overrides: &Overrides) -> Result<Config, Invalid> {
    let mut reader = Reader { name, problems: Vec::new() };
    let listeners = listeners(&file, overrides, &mut reader);
    let sites = sites(&file, overrides, &mut reader);
    let mode = reader.value("mode", file.mode.as_deref(), None, |word| match word {
        "observe" => Ok(Some(policy::Mode::Observe)),
        "enforce" => Ok(Some(policy::Mode::Enforce)),
        _ => Err(format!("`{word}` is neither observe nor enforce")),
    });
    let mut trusted_proxies = Vec::new();
    for text in &file.trusted_proxies {
        match text.parse::<IpNet>().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
        {
            Ok(net) => trusted_proxies.push(net),
            Err(_) => reader
                .problems
                .push(format!("{name}: trusted_proxies: `{text}` is not a network such as 10.0.0.0/8")),
        }
    }
    let via = reader.value("via", file.via.as_deref(), None, |text| {
        HeaderValue::from_str(&format!("1.1 {text}"))
            .map(Some)
            .map_err(|_| format!("`{text}` cannot stand in Via"))
    });
    let bytes = |reader: &mut Reader<'_>, key: &str, text: Option<&String>, default: u64| {
        reader.value(key, text.map(String::as_str), default, units::bytes)
    };
    let default_admin = SocketAddr::from(([127, 0, 0, 1], 8402));
    let config = Config {
        listeners,
        admin: overrides
            .admin
            .unwrap_or_else(|| reader.address("admin", file.admin.as_deref(), default_admin)),
        state: overrides.state.clone().or(file.state).unwrap_or_else(|| PathBuf::from("byline-state")),
        policy: overrides.policy.clone().or(file.policy),
        mode: overrides.mode.or(mode),
        sites,
        trusted_proxies,
        announce: Announce { forwarded: file.forwarded, via },
        threads: file
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
            .clamp(1, 256),
        timeouts: Timeouts {
            request_head: reader.duration("timeouts.request_head", file.timeouts.request_head.as_ref(), 30),
            body_silence: reader.duration("timeouts.body_silence", file.timeouts.body_silence.as_ref(), 60),
            upstream: UpstreamTimeouts {
                connect: reader.duration("timeouts.connect", file.timeouts.connect.as_ref(), 5),
                response_head: reader.duration(
                    "timeouts.response_head",
                    file.timeouts.response_head.as_ref(),
                    60,
                ),
            },
            lame_duck: reader.duration("timeouts.lame_duck", file.timeouts.lame_duck.as_ref(), 0),
            drain: reader.duration("timeouts.drain", file.timeouts.drain.as_ref(), 30),
        },
        limits: Limits {
            connections: file.limits.connections.unwrap_or(16_384).max(1),
            requests: file.limits.requests.unwrap_or(4_096).max(1),
            head_bytes: bytes(&mut reader, "limits.head", file.limits.head.as_ref(), 64 << 10) as usize,
            headers: file.limits.headers.unwrap_or(128).clamp(16, 1024),
            streams_per_connection: file.limits.streams_per_connection.unwrap_or(128).max(1),
            hold_bytes: bytes(&mut reader, "limits.hold", file.limits.hold.as_ref(), 64 << 20) as usize,
        },
        ledger: LedgerSettings {
            origin: file.ledger.origin.unwrap_or_else(|| "localhost/ledger".to_owned()),
            segment_bytes: bytes(&mut reader, "ledger.segment", file.ledger.segment.as_ref(), 64 << 20),
            queue_entries: file.ledger.queue_entries.unwrap_or(8192).max(1),
            probe_interval: reader.duration("ledger.probe_interval", file.ledger.probe_interval.as_ref(), 1),
            claimed_per_second: file.ledger.claimed_per_second.unwrap_or(100),
        },
        identity: IdentitySettings {
            fetch: file.identity.fetch.unwrap_or(true) && !overrides.offline,
            lists_dir: file.identity.lists_dir,
            reverse_dns: file.identity.reverse_dns.unwrap_or(true) && !overrides.offline,
            nameserver: reader.value(
                "identity.nameserver",
                file.identity.nameserver.as_deref(),
                None,
                |text| {
                    text.parse()
                        .map(Some)
                        .map_err(|_| format!("`{text}` is not an address such as 127.0.0.1:53"))
                },
            ),
        },
    };
    if reader.problems.is_empty() { Ok(config) } else { Err(Invalid { problems: reader.problems }) }
}

fn listeners(file: &File, overrides: &Overrides, reader: &mut Reader<'_>) -> Vec<Listener> {
    let default = SocketAddr::from(([127, 0, 0, 1], 8080));
    let plain = |address| Listener { address, tls: None, proxy_protocol: false };
    if let Some(address) = overrides.listen {
        return vec![plain(address)];
    }
    let mut listeners = Vec::new();
    if let Some(text) = &file.listen {
        listeners.push(plain(reader.address("listen", Some(text), default)));
    }
    for table in &file.listener {
        let address = reader.address("listener.address", Some(&table.address), default);
        let tls = match (&table.certificate, &table.key) {
            (Some(certificate), Some(key)) => {
                Some(TlsFiles { certificate: certificate.clone(), key: key.clone() })
            }
            (None, None) => None,
            _ => {
                let why = "certificate and key go together";
                reader.problems.push(format!("{}: listener {}: {why}", reader.name, table.address));
                None
            }
        };
        listeners.push(Listener { address, tls, proxy_protocol: table.proxy_protocol });
    }
    if listeners.is_empty() {
        listeners.push(plain(default));
    }
    listeners
}

fn sites(file: &File, overrides: &Overrides, reader: &mut Reader<'_>) -> Vec<Site> {
    let everything = overrides.upstream.as_ref().or(file.upstream.as_ref());
    let mut wanted: Vec<(Vec<String>, String)> =
        file.site.iter().map(|site| (site.hosts.clone(), site.upstream.clone())).collect();
    if let Some(upstream) = everything {
        wanted.push((vec!["*".to_owned()], upstream.clone()));
    }
    if wanted.is_empty() {
        reader.problems.push(format!(
            "{}: no upstream: say --upstream http://127.0.0.1:8080, or write a [[site]] with hosts and upstream",
            reader.name
        ));
    }
    let mut sites = Vec::new();
    for (id, (hosts, upstream)) in wanted.into_iter().enumerate() {
        let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        match Origin::parse(id, &upstream) {
            Ok(origin) => sites.push(Site { hosts, origin }),
            Err(why) => reader.problems.push(format!("{}: {why}", reader.name)),
        }
    }
    sites
}
