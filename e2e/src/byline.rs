//! The program under test: the real binary, driven through its command line and its sockets alone.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::ports::Port;
use crate::wait::{self, PATIENCE};

/// Where the binary is: `BYLINE_BIN`, or the one beside this test, which cargo brings up to date first.
///
/// The tests run the build of their own profile. In `dev` that is the one with overflow checks and debug assertions,
/// which is what a search for broken invariants wants; figures are taken elsewhere, from a release build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("BYLINE_BIN") {
            return path.into();
        }
        let test = std::env::current_exe().expect("a running test has a path");
        let profile = test.ancestors().nth(2).expect("cargo puts tests into <profile>/deps");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "byline-proxy", "--bin", "byline"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let target = profile.parent().expect("a profile lies in the target directory");
        let built = build.arg("--target-dir").arg(target).status();
        assert!(built.is_ok_and(|status| status.success()), "the byline binary does not build");
        profile.join("byline")
    })
}

/// What one run of a command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs `byline` with these arguments to its end.
pub fn run<I: IntoIterator<Item = S>, S: Into<OsString>>(arguments: I) -> Said {
    run_with(&[], arguments)
}

/// [`run`] with these variables in its environment.
pub fn run_with<I: IntoIterator<Item = S>, S: Into<OsString>>(
    environment: &[(&str, &Path)],
    arguments: I,
) -> Said {
    let mut command = Command::new(binary());
    command.args(arguments.into_iter().map(Into::into)).envs(environment.iter().copied());
    let output = command.stdin(Stdio::null()).output().expect("byline starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What a test asks of the process before it starts.
pub struct Setup {
    upstream: Option<String>,
    policy: Option<String>,
    config: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    state: Option<PathBuf>,
    files: Vec<(String, String)>,
    wrapper: Vec<String>,
    held: bool,
    own_program: bool,
    online: bool,
}

/// A process in front of this upstream URL, with flags alone; policy and configuration may follow.
pub fn before(upstream: impl Into<String>) -> Setup {
    Setup { upstream: Some(upstream.into()), ..Setup::empty() }
}

/// A process that is told everything by a `byline.toml`. `{listen}`, `{tls}`, `{admin}`, `{state}`, `{policy}` and
/// `{dir}` in its text stand for what the harness chose.
pub fn configured(text: impl Into<String>) -> Setup {
    Setup { config: Some(text.into()), ..Setup::empty() }
}

impl Setup {
    fn empty() -> Setup {
        Setup {
            upstream: None,
            policy: None,
            config: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            state: None,
            files: Vec::new(),
            wrapper: Vec::new(),
            held: false,
            own_program: false,
            online: false,
        }
    }

    /// It may fetch lists and keys: its configuration must see to it that they are here ([`crate::config::loopback_identity`]).
    pub fn online(mut self) -> Setup {
        self.online = true;
        self
    }

    /// The test opens the listening sockets and passes them to the process, as systemd does for a socket unit.
    pub fn with_sockets_held(mut self) -> Setup {
        self.held = true;
        self
    }

    /// The process is started from a copy of the binary that is this test's own: [`Byline::program`].
    pub fn with_own_program(mut self) -> Setup {
        self.own_program = true;
        self
    }

    /// The text of `policy.toml`.
    pub fn policy(mut self, text: impl Into<String>) -> Setup {
        self.policy = Some(text.into());
        self
    }

    /// One more argument of `byline serve`.
    pub fn with(mut self, argument: impl Into<String>) -> Setup {
        self.arguments.push(argument.into());
        self
    }

    /// A variable of its environment. `{dir}` stands for the directory of its files.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A state directory that outlives the process.
    pub fn state(mut self, dir: impl Into<PathBuf>) -> Setup {
        self.state = Some(dir.into());
        self
    }

    /// Starts it through a shell that does this first; `{dir}` stands for the directory of its files.
    pub fn after(mut self, shell: &str) -> Setup {
        self.wrapper = vec!["sh".to_owned(), "-c".to_owned(), format!("{shell} && exec \"$0\" \"$@\"")];
        self
    }

    /// Starts it in a mount namespace of its own, after a shell did this.
    pub fn after_in_own_mounts(self, shell: &str) -> Setup {
        let mut setup = self.after(shell);
        setup
            .wrapper
            .splice(0..0, ["unshare".to_owned(), "--map-root-user".to_owned(), "--mount".to_owned()]);
        setup
    }

    /// A file that the configuration speaks of, in `{dir}`.
    pub fn file(mut self, name: &str, text: impl Into<String>) -> Setup {
        self.files.push((name.to_owned(), text.into()));
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Byline {
        let mut byline = self.prepare();
        byline.launch();
        byline.wait_ready();
        byline
    }

    /// Writes its files, but does not start it.
    pub fn prepare(self) -> Byline {
        let dir = tempfile::Builder::new().prefix("byline-e2e-").tempdir().expect("a temporary directory");
        let state = self.state.unwrap_or_else(|| dir.path().join("state"));
        let policy_file = dir.path().join("policy.toml");
        let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
        let [listen, tls, admin] = [ports[0].addr(), ports[1].addr(), ports[2].addr()];
        for (name, text) in &self.files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a file of the directory")).expect("the same");
            std::fs::write(path, text).expect("the temporary directory is writable");
        }
        if let Some(policy) = &self.policy {
            std::fs::write(&policy_file, policy).expect("the temporary directory is writable");
        }
        let mut arguments = vec!["serve".to_owned()];
        if let Some(config) = &self.config {
            let text = config
                .replace("{listen}", &listen.to_string())
                .replace("{tls}", &tls.to_string())
                .replace("{admin}", &admin.to_string())
                .replace("{state}", &state.display().to_string())
                .replace("{policy}", &policy_file.display().to_string())
                .replace("{dir}", &dir.path().display().to_string());
            let file = dir.path().join("byline.toml");
            std::fs::write(&file, text).expect("the temporary directory is writable");
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        } else {
            let flags = [
                ("--listen", listen.to_string()),
                ("--admin", admin.to_string()),
                ("--state", state.display().to_string()),
            ];
            for (flag, value) in flags {
                arguments.extend([flag.to_owned(), value]);
            }
            if self.policy.is_some() {
                arguments.extend(["--policy".to_owned(), policy_file.display().to_string()]);
            }
        }
        if let Some(upstream) = self.upstream {
            arguments.extend(["--upstream".to_owned(), upstream]);
        }
        if !self.online {
            arguments.push("--offline".to_owned());
        }
        arguments.extend(self.arguments);
        let program = if self.own_program { dir.path().join("byline") } else { binary().to_owned() };
        if self.own_program {
            std::fs::copy(binary(), &program).expect("a copy of the binary");
        }
        let held = if self.held {
            let with_tls = self.config.as_ref().is_some_and(|config| config.contains("{tls}"));
            let wanted = [("http", listen, true), ("https", tls, with_tls), ("admin", admin, true)];
            let wanted = wanted.into_iter().filter(|(.., wanted)| *wanted);
            wanted
                .map(|(name, at, _)| (name.to_owned(), TcpListener::bind(at).expect("our own port")))
                .collect()
        } else {
            Vec::new()
        };
        let dir_name = dir.path().display().to_string();
        let environment =
            self.environment.into_iter().map(|(name, value)| (name, value.replace("{dir}", &dir_name)));
        Byline {
            listen,
            tls,
            admin,
            state,
            policy_file,
            arguments,
            environment: environment.collect(),
            wrapper: self.wrapper.iter().map(|word| word.replace("{dir}", &dir_name)).collect(),
            program,
            held,
            running: None,
            words: Arc::default(),
            _ports: ports,
            _dir: dir,
        }
    }
}

/// A `byline serve`, killed when the value goes.
pub struct Byline {
    /// The plain listener.
    pub listen: SocketAddr,
    /// The TLS listener, where the configuration has one.
    pub tls: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The state directory.
    pub state: PathBuf,
    /// The policy's file.
    pub policy_file: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
    /// The binary that it was started from.
    pub program: PathBuf,
    /// Listening sockets that the test passes to it, with their names.
    pub held: Vec<(String, TcpListener)>,
    running: Option<Running>,
    words: Arc<Mutex<String>>,
    _ports: [Port; 3],
    _dir: TempDir,
}

/// A live process: one that was started here, or one that took over from it.
enum Running {
    Child(Child),
    Successor(Pid),
}

impl Running {
    fn id(&self) -> u32 {
        match self {
            Running::Child(child) => child.id(),
            Running::Successor(pid) => pid.as_raw_pid() as u32,
        }
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        match self {
            Running::Child(child) => child.try_wait().expect("our own child"),
            Running::Successor(pid) => {
                // Ours once its predecessor is gone; until then it is not to be waited for.
                let (_, status) = waitpid(Some(*pid), WaitOptions::NOHANG).ok()??;
                Some(ExitStatus::from_raw(status.as_raw()))
            }
        }
    }

    fn kill(mut self) {
        let pid = Pid::from_raw(self.id() as i32).expect("a process id is not zero");
        let _ = kill_process(pid, Signal::KILL);
        wait::until("the end of a killed process", PATIENCE, || self.try_wait());
    }
}

impl Byline {
    /// Starts the process without waiting for it.
    pub fn launch(&mut self) {
        // Each link of the chain becomes the next: the process id is byline's in the end.
        let mut chain = self.wrapper.iter().map(OsString::from).chain([self.program.clone().into()]);
        let mut command = Command::new(chain.next().expect("the binary at least"));
        let _passed = self.pass_sockets(&mut command);
        let mut child = command
            .args(chain)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("byline starts");
        collect(child.stdout.take().expect("a piped stdout"), &self.words);
        collect(child.stderr.take().expect("a piped stderr"), &self.words);
        self.running = Some(Running::Child(child));
    }

    /// Has a shell put the held sockets where systemd does: from descriptor 3 up, with the process's own id beside them.
    fn pass_sockets(&self, command: &mut Command) -> Vec<OwnedFd> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let (mut script, mut passed) = (String::new(), Vec::new());
        for (index, (_, socket)) in self.held.iter().enumerate() {
            let copy = rustix::io::fcntl_dupfd_cloexec(socket, 100).expect("a descriptor above 100");
            rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).expect("our own descriptor");
            script += &format!("exec {}<&{1} {1}<&-; ", index + 3, copy.as_raw_fd());
            passed.push(copy);
        }
        script += "export LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let names: Vec<&str> = self.held.iter().map(|(name, _)| name.as_str()).collect();
        let program = std::mem::replace(command, Command::new("bash"));
        command.arg("-c").arg(script).arg(program.get_program());
        command.env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        passed
    }

    /// Waits until `/readyz` says yes.
    pub fn wait_ready(&mut self) {
        let start = Instant::now();
        while self.admin_status("/readyz") != Some(200) {
            let ended = self.running.as_mut().and_then(Running::try_wait);
            assert!(ended.is_none(), "byline ended at its start, {ended:?}:\n{}", self.words());
            assert!(start.elapsed() < PATIENCE, "byline is not ready:\n{}", self.words());
            thread::sleep(Duration::from_millis(3));
        }
    }

    /// Everything it has printed so far.
    pub fn words(&self) -> String {
        self.words.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("a started process").id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id is not zero");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// Asks it to end in good order.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to read its policy again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Asks it to start its successor.
    pub fn ask_for_upgrade(&self) {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("Linux 3.4 or newer");
        self.signal(Signal::USR2);
    }

    /// Asks it to start its successor, and follows that one as soon as it serves. The old process is what is given back.
    pub fn upgrade(&mut self) -> Predecessor {
        const STARTED: &str = "leaving the rest to it process=";
        let before = self.words().matches(STARTED).count();
        self.ask_for_upgrade();
        let successor = wait::until("a successor", PATIENCE, || {
            let words = self.words();
            let (_, process) =
                words.rsplit_once(STARTED).filter(|_| words.matches(STARTED).count() > before)?;
            process.split_whitespace().next()?.parse().ok()
        });
        let successor = Running::Successor(Pid::from_raw(successor).expect("not zero"));
        Predecessor(self.running.replace(successor))
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let mut running = self.running.take().expect("a started process");
        let start = Instant::now();
        loop {
            if let Some(status) = running.try_wait() {
                return status;
            }
            if start.elapsed() > limit {
                running.kill();
                panic!("byline did not end within {limit:?}:\n{}", self.words());
            }
            thread::sleep(Duration::from_millis(3));
        }
    }

    /// SIGTERM and the wait for a clean end.
    pub fn stop(&mut self) {
        self.terminate();
        let status = self.wait_exit(PATIENCE);
        assert!(status.success(), "byline ended with {status}:\n{}", self.words());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Starts it again as it was.
    pub fn start_again(&mut self) {
        self.launch();
        self.wait_ready();
    }

    /// Whether the process is still there.
    pub fn alive(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| running.try_wait().is_none())
    }

    /// A connection to the plain listener.
    pub fn client(&self) -> Client {
        Client::connect(self.listen)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> client::Answer {
        client::ask(self.listen, request)
    }

    fn admin_status(&self, path: &str) -> Option<u16> {
        let tcp = std::net::TcpStream::connect(self.admin).ok()?;
        drop(tcp);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        let mut client = Client::connect(self.admin);
        client.try_send(request).ok()?;
        Some(client.try_answer("GET").ok()??.status)
    }

    /// A GET on the admin listener, which must answer 200.
    pub fn admin_get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        let answer = client::ask(self.admin, request);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// The status of a GET on the admin listener.
    pub fn admin_answers(&self, path: &str) -> u16 {
        self.admin_status(path).expect("the admin listener answers")
    }

    /// All samples of `/metrics`: the series, labels included, and its value.
    pub fn metrics(&self) -> Vec<(String, f64)> {
        let text = self.admin_get("/metrics");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                Some((series.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// The sum of all series of a metric whose labels contain each of these texts.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        let series = self.metrics();
        let chosen =
            series.iter().filter(|(s, _)| of_name(s) && labels.iter().all(|label| s.contains(label)));
        chosen.map(|(_, value)| value).sum()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a live process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("VmRSS is a number of KiB")
    }

    /// What it has used of the processors since its start.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a live process");
        // After the name in brackets come the state and 10 more; then user and system time, in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a live process").count()
    }

    /// Where the ledger lies within the state.
    pub fn ledger_dir(&self) -> PathBuf {
        self.state.join("ledger")
    }

    /// Every entry of the ledger, whatever its kind.
    pub fn entries(&self) -> Vec<Value> {
        let said = run([OsString::from("ledger"), "cat".into(), self.ledger_dir().into()]);
        assert_eq!(said.code, 0, "ledger cat: {}", said.err);
        said.out.lines().map(|line| serde_json::from_str(line).expect("an entry is JSON")).collect()
    }

    /// The records of metered fetches: the `data` of each.
    pub fn records(&self) -> Vec<Value> {
        let is_fetch = |entry: &Value| entry["type"].as_str().is_some_and(|kind| kind.contains(".fetch."));
        self.entries().into_iter().filter(is_fetch).map(|entry| entry["data"].clone()).collect()
    }

    /// Waits for `count` records and gives them.
    pub fn wait_for_records(&self, count: usize) -> Vec<Value> {
        wait::until("records in the ledger", PATIENCE, || {
            let records = self.records();
            (records.len() >= count).then_some(records)
        })
    }

    /// Runs `byline verify` on the ledger.
    pub fn verify(&self) -> Said {
        run([OsString::from("verify"), self.ledger_dir().into()])
    }

    /// This month's statement, as JSON.
    pub fn statement(&self, arguments: &[&str]) -> Value {
        let mut all = vec![OsString::from("statement"), "--state".into(), self.state.clone().into()];
        all.extend(["--format", "json", "--period", &this_month()].map(OsString::from));
        all.extend(arguments.iter().map(OsString::from));
        let said = run(all);
        assert_eq!(said.code, 0, "statement: {}", said.err);
        serde_json::from_str(&said.out).expect("a statement is JSON")
    }
}

/// A process that has a successor, killed when the value goes.
pub struct Predecessor(Option<Running>);

impl Predecessor {
    /// Whether it is still there.
    pub fn alive(&mut self) -> bool {
        self.0.as_mut().is_some_and(|running| running.try_wait().is_none())
    }

    /// Waits for its end, which must be a good one.
    pub fn ended(mut self) {
        let mut running = self.0.take().expect("a process");
        let status = wait::until("the end of the old process", PATIENCE, || running.try_wait());
        assert!(status.success(), "the old process ended with {status}");
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        if let Some(mut running) = self.0.take()
            && running.try_wait().is_none()
        {
            running.kill();
        }
    }
}

/// The month that it is now, in UTC, as `--period` takes it.
pub fn this_month() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    // Days to a civil date, counted in years that begin in March (proleptic Gregorian).
    let days = since.as_secs() / 86_400 + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}")
}

impl Drop for Byline {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("---- what byline said:\n{}", self.words());
        }
    }
}

fn collect(from: impl std::io::Read + Send + 'static, words: &Arc<Mutex<String>>) {
    let words = words.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            let mut words = words.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            words.push_str(&String::from_utf8_lossy(&line));
            words.push('\n');
        }
    });
}
