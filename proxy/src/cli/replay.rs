//! `byline replay`: what an existing access log would have earned under a policy.
//!
//! Files are read here, one after the other in the order given; what their lines mean is [`billing::replay`]'s.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use billing::replay::{Replay, Settings, for_each_line};
use flate2::read::MultiGzDecoder;
use policy::{Mode, PolicySnapshot, RangeList, render};
use rustix::time::{ClockId, clock_gettime};

use crate::evidence::list_file_name;
use crate::policy_file::{PolicyFileError, load};

/// How often the progress line is drawn.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Lines between two looks at the time.
const PROGRESS_LINES: u64 = 4_096;

/// Arguments of `byline replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Access logs: combined, JSON (nginx, Caddy) or Cloudflare Logpush, plain or gzip; `-` is standard input.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    access_log: Vec<PathBuf>,
    /// The policy to price them with.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Another policy, to see who changes outcome and by how much.
    #[arg(long, value_name = "FILE", requires = "policy")]
    against: Option<PathBuf>,
    /// Take rules that name no mode as if this was the policies' mode.
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,
    /// A state directory of `byline serve`: its copies of the operators' address lists are used.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// A directory with the operators' address lists, as `byline serve` names them.
    #[arg(long, value_name = "DIR")]
    lists: Option<PathBuf>,
    /// The host of lines that name none [default: localhost].
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The scheme of lines that do not say.
    #[arg(long, value_name = "SCHEME", default_value = "https", value_parser = ["http", "https"])]
    scheme: String,
    /// Proxies whose X-Forwarded-For is believed, beside those on local networks.
    #[arg(long, value_name = "CIDR", num_args = 1..)]
    trusted_proxy: Vec<ipnet::IpNet>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ModeArg {
    /// Quote, refuse nothing.
    Observe,
    /// Refuse, limit and charge.
    Enforce,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For a terminal.
    Table,
    /// One JSON object.
    Json,
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mode = args.mode.map(|mode| match mode {
        ModeArg::Observe => Mode::Observe,
        ModeArg::Enforce => Mode::Enforce,
    });
    let mut policies = Vec::new();
    for path in [&args.policy, &args.against].into_iter().flatten() {
        let Some(policy) = compile(path, mode)? else {
            return Ok(ExitCode::from(super::INVALID_CONFIGURATION));
        };
        policies.push(policy);
    }
    let registry = PolicySnapshot::observe_only();
    let settings = Settings {
        lists: lists(&args, policies.iter().chain([&registry]))?,
        host: args.host,
        scheme: args.scheme,
        trusted_proxies: args.trusted_proxy,
    };
    let mut replay = Replay::new(policies.first(), policies.get(1), &registry, &settings);

    let (started, cpu_started) = (Instant::now(), cpu_time());
    let mut failures = 0;
    let mut progress = Progress::new(&args.access_log);
    for path in &args.access_log {
        if let Err(error) = read(path, &mut replay, &mut progress) {
            progress.clear();
            eprintln!("byline: {}: {error}", path.display());
            failures += 1;
        }
    }
    progress.clear();
    let (wall, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu_started));

    if replay.lines_read() == 0 {
        eprintln!(
            "byline: no line could be read: the combined format, JSON lines (nginx, Caddy) and Cloudflare Logpush are known"
        );
        failures += 1;
    }
    let lines = replay.lines();
    let per_cpu_second = u128::from(lines) * 1_000_000_000 / cpu.as_nanos().max(1);
    let report = replay.finish(&registry);
    let mut out = io::stdout().lock();
    match args.format {
        Format::Table => out.write_all(report.to_text().as_bytes())?,
        Format::Json => {
            let mut json = report.to_json();
            json["speed"] = serde_json::json!({
                "lines": lines,
                "wall_milliseconds": u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
                "cpu_milliseconds": u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
                "lines_per_cpu_second": u64::try_from(per_cpu_second).unwrap_or(u64::MAX),
            });
            writeln!(out, "{json:#}")?;
        }
    }
    eprintln!(
        "byline: {lines} lines in {}.{:03} CPU seconds ({}.{:03} by the wall): {per_cpu_second} lines per CPU second",
        cpu.as_secs(),
        cpu.subsec_millis(),
        wall.as_secs(),
        wall.subsec_millis()
    );
    Ok(if failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A policy from a file; its problems go to stderr. `None`: it cannot be used.
fn compile(path: &Path, mode: Option<Mode>) -> anyhow::Result<Option<PolicySnapshot>> {
    match load(Some(path), mode) {
        Ok((policy, warnings)) => {
            if !warnings.is_empty() {
                eprintln!("{}", render(&warnings));
            }
            Ok(Some(policy))
        }
        Err(PolicyFileError::Invalid { diagnostics }) => {
            eprintln!("{}", render(&diagnostics));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The operators' lists that are at hand, for every list that one of the policies' crawlers can be checked by.
fn lists<'p>(
    args: &Args,
    policies: impl Iterator<Item = &'p PolicySnapshot>,
) -> anyhow::Result<BTreeMap<String, RangeList>> {
    let directories: Vec<PathBuf> =
        args.lists.iter().cloned().chain(args.state.as_ref().map(|state| state.join("lists"))).collect();
    for directory in args.lists.iter().chain(&args.state) {
        anyhow::ensure!(directory.is_dir(), "{} is not a directory", directory.display());
    }
    let mut lists = BTreeMap::new();
    for url in policies.flat_map(|policy| policy.directory().lists()) {
        for directory in &directories {
            let path = directory.join(list_file_name(url));
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            };
            match RangeList::parse(&text) {
                Ok(list) => {
                    lists.entry(url.to_owned()).or_insert(list);
                }
                Err(why) => eprintln!("byline: {}: {why}", path.display()),
            }
        }
    }
    if !directories.is_empty() && lists.is_empty() {
        eprintln!("byline: no address list of any operator was found there");
    }
    Ok(lists)
}

/// One file, whatever it is packed in: gzip shows itself by its first two bytes.
fn read(path: &Path, replay: &mut Replay<'_>, progress: &mut Progress) -> io::Result<()> {
    let name = path.display().to_string();
    let raw: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) };
    let mut packed =
        BufReader::with_capacity(256 * 1024, Counted { inner: raw, bytes: Rc::clone(&progress.bytes) });
    let is_gzip = packed.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let mut stream: Box<dyn Read> =
        if is_gzip { Box::new(MultiGzDecoder::new(packed)) } else { Box::new(packed) };
    for_each_line(&mut stream, &mut |number, line| {
        replay.line(&name, number, line);
        if number % PROGRESS_LINES == 0 {
            progress.draw(replay.lines());
        }
    })
}

/// Counts what is read from a file, before it is unpacked: that is what its size is compared with.
struct Counted {
    inner: Box<dyn Read>,
    bytes: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

/// One line on stderr, where that is a terminal: how far it is, how fast, and how long it will take.
struct Progress {
    bytes: Rc<Cell<u64>>,
    /// Of all files; 0 where one of them has no size (standard input).
    total: u64,
    started: Instant,
    drawn: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    fn new(files: &[PathBuf]) -> Progress {
        let size = |path: &PathBuf| {
            std::fs::metadata(path).ok().filter(|file| file.is_file()).map(|file| file.len())
        };
        let total = files.iter().map(size).sum::<Option<u64>>().unwrap_or(0);
        Progress {
            bytes: Rc::default(),
            total,
            started: Instant::now(),
            drawn: None,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    fn draw(&mut self, lines: u64) {
        let now = Instant::now();
        if !self.is_terminal || self.drawn.is_some_and(|drawn| now - drawn < PROGRESS_EVERY) {
            return;
        }
        self.drawn = Some(now);
        let bytes = self.bytes.get();
        let millis = u64::try_from((now - self.started).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = bytes.saturating_mul(1_000) / millis;
        let mut text = format!("{} MB, {} MB/s, {lines} lines", bytes / 1_000_000, rate / 1_000_000);
        const WIDTH: u64 = 24;
        if let Some(full) = bytes.saturating_mul(WIDTH).checked_div(self.total) {
            let full = usize::try_from(full.min(WIDTH)).unwrap_or(0);
            let percent = bytes.saturating_mul(100) / self.total;
            let left_secs = self.total.saturating_sub(bytes) / rate.max(1);
            text = format!("[{:<24}] {percent}%, {text}, {left_secs} s left", "=".repeat(full));
        }
        eprint!("\r\x1b[2K{text}");
    }

    fn clear(&self) {
        if self.drawn.is_some() {
            eprint!("\r\x1b[2K");
        }
    }
}

/// The processor time of this process so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
