"""The real programs around byline: a documentation site, nginx in front of it, byline, and how they start and stop."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

# Documentation packages with more than a thousand pages, the best known first.
PACKAGES = ["postgresql-doc-15", "postgresql-doc-17", "postgresql-doc-16", "postgresql-doc"]


class Crawler:
    """A crawler's name, its user agent, and the loopback address that stands for its operator's published range."""

    def __init__(self, token, agent, address):
        self.token, self.agent, self.address = token, agent, address


GPT = Crawler("GPTBot", "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; "
              "+https://openai.com/gptbot)", "127.0.0.21")
CLAUDE = Crawler("ClaudeBot", "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; "
                 "+claudebot@anthropic.com)", "127.0.0.22")
COMMON = Crawler("CCBot", "CCBot/2.0 (https://commoncrawl.org/faq/)", "127.0.0.23")
AMAZON = Crawler("Amazonbot", "Mozilla/5.0 (compatible; Amazonbot/0.1; +https://developer.amazon.com/amazonbot)",
                 "127.0.0.24")
META = Crawler("meta-externalagent", "meta-externalagent/1.1 "
               "(+https://developers.facebook.com/docs/sharing/webmasters/crawler)", "127.0.0.25")
CRAWLERS = [GPT, CLAUDE, COMMON, AMAZON, META]

NGINX = """worker_processes 1; daemon off; master_process off; {user}
pid {work}/nginx.pid; error_log {work}/nginx.err warn; worker_rlimit_nofile 8192;
events {{ worker_connections 2048; }}
http {{
  types {{ text/html html; text/css css; image/svg+xml svg; text/plain txt; }}
  default_type application/octet-stream; charset utf-8; gzip off; sendfile on;
  log_format seen escape=json '{{"time":"$time_iso8601","client":"$http_x_forwarded_for","method":"$request_method",'
    '"host":"$host","uri":"$request_uri","status":$status,"body_bytes_sent":$body_bytes_sent,'
    '"user_agent":"$http_user_agent"}}';
  log_format combined_client '$http_x_forwarded_for - $remote_user [$time_local] "$request" $status '
    '$body_bytes_sent "$http_referer" "$http_user_agent"';
  access_log {work}/seen.log seen; access_log {work}/combined.log combined_client;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
  uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
  server {{ listen 127.0.0.1:{port}; root {root}; index index.html; port_in_redirect off; }}
}}
"""

CONFIG = """listen = "127.0.0.1:{listen}"
admin = "127.0.0.1:{admin}"
state = "{work}/state"
policy = "{work}/policy.toml"
upstream = "http://127.0.0.1:{upstream}"
"""

POLICY = """version = 1
mode = "enforce"
currency = "USD"

[[holder]]
id = "authors"
name = "The authors"

[[work]]
path = "/**"
holder = "authors"

[[rule]]
name = "pages"
path = "/**"
require = "network"
charge = { price = "0.002 USD", per = "fetch", repeat_free = "0s" }
"""

ACCOUNT = """
[[crawler]]
token = "{token}"
operator = "{operator}"
purpose = "train"
ranges = ["{address}/32"]

[[account]]
operator = "{operator}"
credit_limit = "100000 USD"
accept = "up to 1 USD"
"""


def policy():
    rows = [ACCOUNT.format(token=c.token, operator=f"{c.token.lower()}-op", address=c.address) for c in CRAWLERS]
    return POLICY + "".join(rows)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def tool(name):
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not path:
        raise SystemExit(f"{name} is not installed: run `make deps`")
    return path


def fetch(url, agent="acceptance", timeout=20):
    """Status and body of a GET, whatever the status."""
    request = urllib.request.Request(url, headers={"User-Agent": agent})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read()


def wait_until(what, ready, seconds=30):
    """Asks again and again until the answer is yes."""
    end = time.monotonic() + seconds
    while True:
        try:
            value = ready()
            if value:
                return value
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


class Process:
    """A program of ours, ended by its own process id."""

    end_signal = signal.SIGTERM

    def __init__(self, work, name, argv):
        self.said = work / f"{name}.said"
        with open(self.said, "ab") as said:
            self.child = subprocess.Popen(
                list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=work
            )
        self.name = name

    def check(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.said.read_text(errors='replace')[-3000:]}")
        return True

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(self.end_signal)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode


def unpack_site(cache):
    """A documentation package's pages, taken from the archive so that nothing depends on what is installed."""
    for package in PACKAGES:
        room = cache / package
        root = room / "usr/share/doc" / package / "html"
        if not root.is_dir():
            shutil.rmtree(room, ignore_errors=True)
            room.mkdir(parents=True)
            got = subprocess.run(["apt-get", "download", "-qq", package], cwd=room, capture_output=True)
            archives = list(room.glob("*.deb"))
            if got.returncode or not archives:
                continue
            subprocess.run(["dpkg-deb", "-x", archives[0], room], check=True)
        pages = sorted(p.name for p in root.glob("*.html"))
        if len(pages) >= 1000:
            return root, pages
    raise SystemExit("no documentation package with 1,000 pages could be downloaded")


class Nginx(Process):
    """The publisher's server, as Debian ships it."""

    def __init__(self, work, root):
        (self.port,) = free_ports(1)
        user = "user root;" if os.geteuid() == 0 else ""
        conf = work / "nginx.conf"
        conf.write_text(NGINX.format(work=work, root=root, port=self.port, user=user))
        super().__init__(work, "nginx", [tool("nginx"), "-c", conf, "-e", work / "nginx.err"])
        self.seen, self.combined = work / "seen.log", work / "combined.log"
        self.url = f"http://127.0.0.1:{self.port}"
        wait_until("nginx", lambda: self.check() and fetch(self.url + "/none")[0] == 404)
        for log in (self.seen, self.combined):
            log.write_bytes(b"")

    def lines(self):
        return [json.loads(line) for line in self.seen.read_text().splitlines()]


class Byline(Process):
    """The program under test, as an operator starts it."""

    def __init__(self, work, binary, upstream, text=None):
        self.work, self.binary = work, binary
        self.listen, self.admin = free_ports(2)
        (work / "policy.toml").write_text(text or policy())
        (work / "byline.toml").write_text(
            CONFIG.format(work=work, listen=self.listen, admin=self.admin, upstream=upstream)
        )
        self.url, self.admin_url = f"http://127.0.0.1:{self.listen}", f"http://127.0.0.1:{self.admin}"
        self.start()

    def start(self):
        """Seconds until the first answer of the site came through."""
        began = time.monotonic()
        super().__init__(self.work, "byline", [self.binary, "serve", "--config", self.work / "byline.toml", "--offline"])
        wait_until("byline", lambda: self.check() and fetch(self.url + "/index.html")[0] == 200)
        took = time.monotonic() - began
        wait_until("readiness", lambda: self.check() and fetch(self.admin_url + "/readyz")[0] == 200)
        return took

    def run(self, *arguments):
        return subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True)

    def statement(self):
        said = self.run("statement", "--state", self.work / "state", "--format", "json",
                        "--period", time.strftime("%Y-%m", time.gmtime()))
        if said.returncode:
            raise RuntimeError(f"statement: {said.stderr}")
        return json.loads(said.stdout)

    def ledger(self):
        return self.work / "state" / "ledger"

    def series(self):
        """The names of all series, labels included."""
        text = fetch(self.admin_url + "/metrics")[1].decode()
        return {line.rsplit(" ", 1)[0] for line in text.splitlines() if line and not line.startswith("#")}
