//! `byline serve`: stand in front of a site and meter what AI crawlers fetch, under a policy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::{self, Overrides};
use crate::logging::{self, LogFormat};
use crate::policy_file::PolicyFileError;
use crate::process::{self, Process, ReloadError};

/// Arguments of `byline serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file; without one, the flags below are all there is.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to accept clients, in plain HTTP/1.1 and HTTP/2 [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The site to stand in front of, such as http://127.0.0.1:3000.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where metrics, health and the summary page are [default: 127.0.0.1:8402].
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Directory of the ledger and all that is kept [default: byline-state].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The policy; without one, everything is metered and nothing refused.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Whether rules only show what they would do, or do it; wins over the policy's own word.
    #[arg(long)]
    mode: Option<ModeArg>,
    /// Fetch no published address lists and ask no name server.
    #[arg(long)]
    offline: bool,
    /// How to write the log.
    #[arg(long, default_value = "text")]
    log_format: LogFormat,
    /// What to log: a level, or a filter such as `byline=debug`.
    #[arg(long, default_value = "info")]
    log_level: String,
}

/// A policy mode, as a flag.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ModeArg {
    /// Meter and quote, refuse nothing.
    Observe,
    /// Refuse, limit and charge.
    Enforce,
}

impl From<ModeArg> for policy::Mode {
    fn from(mode: ModeArg) -> policy::Mode {
        match mode {
            ModeArg::Observe => policy::Mode::Observe,
            ModeArg::Enforce => policy::Mode::Enforce,
        }
    }
}

/// Runs it until SIGTERM or SIGINT.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    logging::start(args.log_format, &args.log_level)?;
    // Before anything that takes time: a signal that comes during the start must neither kill nor get lost.
    let signals = listen_for_signals()?;
    let overrides = Overrides {
        listen: args.listen,
        upstream: args.upstream,
        admin: args.admin,
        state: args.state,
        policy: args.policy,
        mode: args.mode.map(policy::Mode::from),
        offline: args.offline,
    };
    let config = match config::load(args.config.as_deref(), &overrides) {
        Ok(config) => config,
        Err(invalid) => {
            eprint!("{invalid}");
            return Ok(ExitCode::from(super::INVALID_CONFIGURATION));
        }
    };
    let process = match process::start(config) {
        Ok(process) => process,
        Err(error) => match error.downcast_ref::<PolicyFileError>() {
            Some(PolicyFileError::Invalid { diagnostics }) => {
                eprint!("{}", policy::render(diagnostics));
                return Ok(ExitCode::from(super::INVALID_CONFIGURATION));
            }
            _ => return Err(error),
        },
    };
    let policy = process.shared.policy.load();
    for url in &process.urls {
        info!(%url, "listening");
    }
    info!(url = %format!("http://{}", process.admin), "admin listening");
    info!(mode = policy.mode().as_str(), digest = %policy.digest(), "policy in force");
    drop(policy);
    // The thread that hears the signals goes on for as long as the process does.
    while let Ok(Asked::Reload) = signals.recv() {
        reload(&process);
    }
    info!("draining: connections finish what they have begun");
    let checkpoint = process.stop()?;
    info!(entries = checkpoint.size, "stopped, ledger closed");
    Ok(ExitCode::SUCCESS)
}

/// SIGHUP reloads; SIGTERM, SIGINT and SIGQUIT begin the drain, and a second one of them ends at once.
fn listen_for_signals() -> anyhow::Result<mpsc::Receiver<Asked>> {
    let mut signals = Signals::register()?;
    let (tell, asked) = mpsc::channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while let Asked::Reload = signals.next() {
            let _ = tell.send(Asked::Reload);
        }
        let _ = tell.send(Asked::Stop);
        while let Asked::Reload = signals.next() {}
        warn!("second signal: ending at once");
        std::process::exit(1);
    })?;
    Ok(asked)
}

fn reload(process: &Process) {
    match process.reload() {
        Ok(digest) => info!(%digest, "policy reloaded"),
        Err(error) => {
            error!(%error, "reload failed: the old policy stays in force");
            if let ReloadError::Policy(PolicyFileError::Invalid { diagnostics }) = &error {
                eprint!("{}", policy::render(diagnostics));
            }
        }
    }
}

enum Asked {
    Reload,
    Stop,
}

struct Signals {
    runtime: tokio::runtime::Runtime,
    hangup: Signal,
    stops: [Signal; 3],
}

impl Signals {
    fn register() -> anyhow::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _inside = runtime.enter();
        let hangup = signal(SignalKind::hangup())?;
        let stops =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        drop(_inside);
        Ok(Signals { runtime, hangup, stops })
    }

    fn next(&mut self) -> Asked {
        let [terminate, interrupt, quit] = &mut self.stops;
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.hangup.recv() => Asked::Reload,
                _ = terminate.recv() => Asked::Stop,
                _ = interrupt.recv() => Asked::Stop,
                _ = quit.recv() => Asked::Stop,
            }
        })
    }
}
