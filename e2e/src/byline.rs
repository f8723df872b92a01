//! The program under test: the real binary, driven through its command line and its sockets alone.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
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
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let output =
        Command::new(binary()).args(&arguments).stdin(Stdio::null()).output().expect("byline starts");
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
        }
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
            std::fs::write(dir.path().join(name), text).expect("the temporary directory is writable");
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
        arguments.push("--offline".to_owned());
        arguments.extend(self.arguments);
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
            child: None,
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
    child: Option<Child>,
    words: Arc<Mutex<String>>,
    _ports: [Port; 3],
    _dir: TempDir,
}

impl Byline {
    /// Starts the process without waiting for it.
    pub fn launch(&mut self) {
        // Each link of the chain becomes the next: the process id is byline's in the end.
        let mut chain = self.wrapper.iter().map(OsString::from).chain([binary().into()]);
        let mut child = Command::new(chain.next().expect("the binary at least"))
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
        self.child = Some(child);
    }

    /// Waits until `/readyz` says yes.
    pub fn wait_ready(&mut self) {
        let start = Instant::now();
        while self.admin_status("/readyz") != Some(200) {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
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
        self.child.as_ref().expect("a started process").id()
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

    /// Waits for its end.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("a started process");
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                return status;
            }
            if start.elapsed() > limit {
                let _ = child.kill();
                let _ = child.wait();
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
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again as it was.
    pub fn start_again(&mut self) {
        self.launch();
        self.wait_ready();
    }

    /// Whether the process is still there.
    pub fn alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
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
