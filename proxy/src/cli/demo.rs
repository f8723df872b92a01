//! `byline demo`: a sample site, the proxy in front of it, scripted crawlers, a statement and a verified ledger.
//!
//! It needs no file, no network and no argument. What it prints as true it has checked; if a check fails, the exit code
//! is 1.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Overrides};
use crate::demo::findings::Findings;
use crate::demo::origin::Origin;
use crate::demo::site::Site;
use crate::demo::visitors;
use crate::demo::{HOST, POLICY, client, report};
use crate::logging::{self, LogFormat};
use crate::process::{self, Process};
use crate::shared;

/// Where the site is offered if nobody says otherwise and the port is free.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Likewise the admin page.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8402);

/// Arguments of `byline demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End by itself instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Keep policy, ledger and books in this directory, which must be new or empty; without it they are removed at the
    /// end.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where Byline serves the site [default: 127.0.0.1:8080, or any free port].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where metrics and the summary page are [default: 127.0.0.1:8402, or any free port].
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "error")?;
    // From here on Ctrl-C does not end the program at once, so that nothing is left behind.
    let mut signals = Signals::register()?;
    say(report::PREFACE)?;
    if let Some(missing) = visitors::SOURCES.into_iter().find(|source| !client::can_use(*source)) {
        bail!(
            "this system has no loopback address {missing}, which a visitor of the demo needs; Linux has all of \
             127.0.0.0/8, elsewhere it takes an alias (macOS: sudo ifconfig lo0 alias {missing})"
        );
    }
    let mut stage = Stage::set(&args)?;
    let process = stage.start()?;
    stage.introduce(&process)?;

    let began = this_month();
    let visitors = visitors::come(&stage.site, stage.listen, stage.origin.address)?;
    say(&report::heading(2, "Who came, and what happened"))?;
    say(report::ON_VISITS)?;
    say(&report::visits(&visitors))?;

    // A clean stop writes the last sums of refusals: from here on the ledger is whole.
    let checkpoint = process.stop()?;
    let findings = Findings::gather(stage.state.path(), checkpoint, &period_since(began))?;
    let checks = findings.check(&visitors);
    say(&findings.tell(&visitors)?)?;
    say(&report::heading(7, "Does it add up?"))?;
    say(&report::checks(&checks))?;

    let me = std::env::args().next().unwrap_or_else(|| "byline".to_owned());
    say(&report::heading(8, "What to try next"))?;
    if args.once {
        say(&format!(
            "   {me} demo\n       the same, and it stays up: try it with curl and look at the admin page\n   \
             {me} replay --access-log /var/log/nginx/access.log\n       \
             who crawled your own site, and what it would have earned\n   \
             {me} serve --upstream http://127.0.0.1:3000\n       \
             stand in front of your own site: it meters, and refuses nothing\n"
        ))?;
        if let Some(state) = &args.state {
            say(&format!("\n   Policy, ledger and books are kept in {}.\n", state.display()))?;
        }
    } else {
        stage.stay_up(&me, &mut signals)?;
    }
    Ok(if checks.all_hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The site, the place where things are kept, and the addresses.
struct Stage {
    site: Arc<Site>,
    origin: Origin,
    state: State,
    listen: SocketAddr,
    admin: SocketAddr,
    /// Which of the two somebody asked for, so that no other will do.
    asked_for: (bool, bool),
}

/// Where policy, ledger and books are.
enum State {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl State {
    fn path(&self) -> &Path {
        match self {
            State::Kept(path) => path,
            State::Temporary(directory) => directory.path(),
        }
    }
}

impl Stage {
    fn set(args: &Args) -> anyhow::Result<Stage> {
        let state = match &args.state {
            Some(path) => State::Kept(new_directory(path)?),
            None => State::Temporary(
                tempfile::Builder::new()
                    .prefix("byline-demo-")
                    .tempdir()
                    .context("no temporary directory can be made")?,
            ),
        };
        std::fs::write(state.path().join("policy.toml"), POLICY).context("the policy cannot be written")?;
        let site = Arc::new(Site::new());
        let origin = Origin::start(Arc::clone(&site))?;
        let listen = args.listen.unwrap_or_else(|| free_or_any(LISTEN));
        let admin = args.admin.unwrap_or_else(|| free_or_any(ADMIN));
        let asked_for = (args.listen.is_some(), args.admin.is_some());
        Ok(Stage { site, origin, state, listen, admin, asked_for })
    }

    /// Starts Byline in front of the site, as `byline serve` would; then the addresses are those that it really has.
    fn start(&mut self) -> anyhow::Result<Process> {
        match self.try_start() {
            // Somebody took a port between the look and the leap.
            Err(error) if is_in_use(&error) && self.asked_for != (true, true) => {
                if !self.asked_for.0 {
                    self.listen.set_port(0);
                }
                if !self.asked_for.1 {
                    self.admin.set_port(0);
                }
                self.try_start()
            }
            result => result,
        }
    }

    fn try_start(&mut self) -> anyhow::Result<Process> {
        let overrides = Overrides {
            listen: Some(self.listen),
            upstream: Some(format!("http://{}", self.origin.address)),
            admin: Some(self.admin),
            state: Some(self.state.path().to_owned()),
            policy: Some(self.state.path().join("policy.toml")),
            offline: true,
            ..Overrides::default()
        };
        let mut config = config::load(None, &overrides)?;
        config.ledger.origin = format!("{HOST}/ledger");
        let process = process::start(config)?;
        let url = process.urls.first().context("there is one listener")?;
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        self.listen = address.parse().with_context(|| format!("the listener's URL {url}"))?;
        self.admin = process.admin;
        Ok(process)
    }

    fn introduce(&self, process: &Process) -> anyhow::Result<()> {
        say(&report::heading(1, "What was set up"))?;
        let state = self.state.path().display();
        say(&format!(
            "   a publisher's site     http://{}/   {} works, a feed, a picture\n   \
             Byline in front of it  http://{}/   the same site; visitors come here\n   \
             admin page, metrics    http://{}/\n   \
             its policy             {state}/policy.toml\n   \
             its ledger             {state}/ledger/\n\n   \
             The policy's rules, as they stand in the file:\n\n",
            self.origin.address,
            self.site.works().len(),
            self.listen,
            process.admin,
        ))?;
        say(&report::indented(report::rules_of(POLICY)))
    }

    /// Starts again on the same ledger and waits for Ctrl-C.
    fn stay_up(&mut self, me: &str, signals: &mut Signals) -> anyhow::Result<()> {
        let process = self.start()?;
        let (url, admin, state) = (self.listen, self.admin, self.state.path().display());
        say(&format!(
            "   Byline is up again on the same ledger:\n\n     \
             http://{url}/   the site, through Byline: open it in a browser\n     \
             http://{admin}/   crawlers, works, amounts; also /metrics\n\n   \
             In another terminal:\n\n   \
             curl -i -A 'GPTBot/1.2' http://{url}/poems/the-tyger\n       \
             an impostor: 127.0.0.1 is not where the real one comes from\n   \
             curl -i -A 'GPTBot/1.2' --interface 127.10.0.1 http://{url}/fables/dog-and-shadow\n       \
             the real one, by its address: delivered, and on the bill\n   \
             {me} statement --state {state} --period {}\n       \
             the bill\n\n   Ctrl-C ends it{}.\n",
            period_since(this_month()),
            match self.state {
                State::Kept(_) => "",
                State::Temporary(_) => " and removes everything",
            }
        ))?;
        signals.wait();
        let checkpoint = process.stop()?;
        say(&format!("\n   Stopped; the ledger was closed with {} entries.\n", checkpoint.size))
    }
}

/// The wish to end: SIGINT (Ctrl-C) or SIGTERM.
struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn register() -> anyhow::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(inside);
        Ok(Signals { runtime, interrupt, terminate })
    }

    /// Waits for one, or finds that it came before.
    fn wait(&mut self) {
        let Signals { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads no further still gets the exit code.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

fn this_month() -> i32 {
    metrics::month_of(shared::now_micros())
}

/// The running month; the months since then if the demo began in an earlier one.
fn period_since(began: i32) -> String {
    let now = this_month();
    if began == now {
        metrics::month_text(now)
    } else {
        format!("{}..{}", metrics::month_text(began), metrics::month_text(now + 1))
    }
}

/// The directory, made if need be; one with something in it is left alone.
fn new_directory(path: &Path) -> anyhow::Result<PathBuf> {
    let cannot = || format!("{} cannot be used", path.display());
    std::fs::create_dir_all(path).with_context(cannot)?;
    if std::fs::read_dir(path).with_context(cannot)?.next().is_some() {
        bail!("{} is not empty: the demo begins with a ledger of its own", path.display());
    }
    path.canonicalize().with_context(cannot)
}

fn is_in_use(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == std::io::ErrorKind::AddrInUse)
}

/// The address if nobody listens there, else any port of the same host.
fn free_or_any(wanted: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(wanted.ip(), 0),
    }
}
