//! `byline serve`: stand in front of a site and meter what AI crawlers fetch, under a policy.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::{self, Overrides};
use crate::handover::{self, Predecessor, Successor, SuccessorError};
use crate::listen::Passed;
use crate::logging::{self, LogFormat};
use crate::notify;
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
    // Before any thread starts: it changes the environment.
    let by_service_manager = Passed::by_service_manager()?;
    logging::start(args.log_format, &args.log_level)?;
    // Before anything that takes time: a signal that comes during the start must neither kill nor get lost.
    let (tell, asked) = mpsc::channel();
    listen_for_signals(tell.clone())?;
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
    // What lies there when an upgrade comes is the new program.
    let program = handover::program()?;
    let (passed, predecessor) = match Predecessor::find()? {
        Some((predecessor, sockets)) => (Passed::by_predecessor(sockets)?, Some(predecessor)),
        None => (by_service_manager, None),
    };
    let process = match process::start_with(config, passed, predecessor) {
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
    notify::ready();
    let mut upgrade = Upgrade::default();
    // The thread that hears the signals goes on for as long as the process does.
    let checkpoint = loop {
        match asked.recv()? {
            Asked::Reload => reload(&process),
            Asked::Upgrade => upgrade.begin(&process, &program, &tell),
            Asked::Successor(Ok(successor)) => {
                info!(process = successor.id(), "a new process serves: leaving the rest to it");
                notify::main_process(successor.id());
                // Our other way to it would keep it waiting for the ledger.
                drop(upgrade);
                break process.leave_to(successor)?;
            }
            Asked::Successor(Err(error)) => upgrade.failed(error),
            Asked::Stop => {
                if let Some(successor) = upgrade.call_off(&asked) {
                    // It serves already: the wish to end is now its own.
                    successor.terminate();
                    break process.leave_to(successor)?;
                }
                notify::stopping();
                info!("draining: connections finish what they have begun");
                break process.stop()?;
            }
        }
    };
    info!(entries = checkpoint.size, "stopped, ledger closed");
    Ok(ExitCode::SUCCESS)
}

/// An upgrade that may be under way.
#[derive(Default)]
struct Upgrade {
    /// A way to end the wait for the new process.
    waiting: Option<OwnedFd>,
}

impl Upgrade {
    /// Starts a new process. This one serves as ever, until the new one does.
    fn begin(&mut self, process: &Process, program: &Path, tell: &mpsc::Sender<Asked>) {
        if self.waiting.is_some() {
            return warn!("an upgrade is under way already");
        }
        let begun = process.succeeded_by(program).and_then(|successor| {
            self.waiting = Some(successor.wait_ended_by().map_err(SuccessorError::Channel)?);
            Ok(successor)
        });
        let successor = match begun {
            Ok(successor) => successor,
            Err(error) => return self.failed(error),
        };
        info!(process = successor.id(), program = %program.display(), "a new process was started");
        let (tell, patience) = (tell.clone(), process.patience_with_a_successor());
        std::thread::spawn(move || tell.send(Asked::Successor(successor.serves(patience))));
    }

    fn failed(&mut self, error: SuccessorError) {
        self.waiting = None;
        let error = &error as &dyn std::error::Error;
        error!(error, "the upgrade failed: this process goes on serving");
    }

    /// Ends an upgrade that is under way; a new process that nobody needs must not be left with the sockets. Gives it back
    /// where it was quicker.
    fn call_off(&mut self, asked: &mpsc::Receiver<Asked>) -> Option<Successor> {
        handover::call_off(&self.waiting.take()?);
        asked.iter().find_map(|asked| match asked {
            Asked::Successor(came) => Some(came.ok()),
            _ => None,
        })?
    }
}

/// SIGHUP reloads, SIGUSR2 upgrades; SIGTERM, SIGINT and SIGQUIT begin the drain, and a second one of them ends at once.
fn listen_for_signals(tell: mpsc::Sender<Asked>) -> anyhow::Result<()> {
    let mut signals = Signals::register()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut stopping = false;
        loop {
            match signals.next() {
                Asked::Stop if stopping => {
                    warn!("second signal: ending at once");
                    std::process::exit(1);
                }
                asked => {
                    stopping |= matches!(asked, Asked::Stop);
                    let _ = tell.send(asked);
                }
            }
        }
    })?;
    Ok(())
}

fn reload(process: &Process) {
    notify::reloading();
    match process.reload() {
        Ok(digest) => info!(%digest, "policy reloaded, certificates with it"),
        Err(error) => {
            error!(%error, "reload failed: everything stays as it was");
            if let ReloadError::Policy(PolicyFileError::Invalid { diagnostics }) = &error {
                eprint!("{}", policy::render(diagnostics));
            }
        }
    }
    notify::ready();
}

enum Asked {
    Reload,
    Upgrade,
    /// What came of an upgrade.
    Successor(Result<Successor, SuccessorError>),
    Stop,
}

struct Signals {
    runtime: tokio::runtime::Runtime,
    hangup: Signal,
    upgrade: Signal,
    stops: [Signal; 3],
}

impl Signals {
    fn register() -> anyhow::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _inside = runtime.enter();
        let hangup = signal(SignalKind::hangup())?;
        let upgrade = signal(SignalKind::user_defined2())?;
        let stops =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        drop(_inside);
        Ok(Signals { runtime, hangup, upgrade, stops })
    }

    fn next(&mut self) -> Asked {
        let [terminate, interrupt, quit] = &mut self.stops;
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.hangup.recv() => Asked::Reload,
                _ = self.upgrade.recv() => Asked::Upgrade,
                _ = terminate.recv() => Asked::Stop,
                _ = interrupt.recv() => Asked::Stop,
                _ = quit.recv() => Asked::Stop,
            }
        })
    }
}
