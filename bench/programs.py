"""The programs that are measured: the origin behind them, nginx, HAProxy, Pingora and byline, each on a CPU of its own.

The origin and the load generator share one CPU, the proxy that is measured has another for itself.
"""

import hashlib
import os
import pathlib
import re
import resource
import signal
import ssl
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e" / "acceptance"))

import parts  # noqa: E402  (what the acceptance tests start and stop programs with)
from parts import free_ports, tool, wait_until  # noqa: E402,F401

SIZES = {"1k": 1024, "10k": 10 * 1024, "100k": 100 * 1024}
CRAWLER = "Mozilla/5.0 (compatible; BenchBot/1.0; +https://bench.example/bot)"
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
TICKS = os.sysconf("SC_CLK_TCK")
CPUS = sorted(os.sched_getaffinity(0))
# For the thousands of connections that some measurements open; what is started inherits it.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
LOAD_CPU, PROXY_CPU = CPUS[:2] if len(CPUS) > 1 else (None, None)

POLICY = """version = 1
mode = "enforce"
currency = "USD"

[[crawler]]
token = "BenchBot"
operator = "bench"
purpose = "train"
ranges = ["127.0.0.0/8"]

[[account]]
operator = "bench"
credit_limit = "1000000 USD"
accept = "up to 1 USD"

[[holder]]
id = "holder"
name = "The holder"

[[work]]
path = "/**"
holder = "holder"

[[rule]]
name = "paid"
path = "/**"
require = "network"
charge = { price = "0.0001 USD", per = "fetch", repeat_free = "0s" }
"""

BYLINE = """listen = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"
state = "{work}/{name}-state"
policy = "{policy}"
upstream = "http://127.0.0.1:{origin}"
threads = {threads}

[[listener]]
address = "127.0.0.1:{tls}"
certificate = "{work}/cert.pem"
key = "{work}/key.pem"
{more}
"""

NGINX_FRAME = """{user} worker_processes 1; daemon off; master_process off;
pid {work}/{name}.pid; error_log {work}/{name}.err warn; worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
  keepalive_timeout 10m; keepalive_requests 1000000000;
  client_body_temp_path {work}/{name}.1; proxy_temp_path {work}/{name}.2; fastcgi_temp_path {work}/{name}.3;
  uwsgi_temp_path {work}/{name}.4; scgi_temp_path {work}/{name}.5;
  {body}
}}
"""

ORIGIN = """access_log off; sendfile on; tcp_nopush on; open_file_cache max=64 inactive=10m;
  default_type text/html;
  server {{
    listen 127.0.0.1:{origin} backlog=4096; root {work}/site;
    location /works/ {{ try_files /10k =500; }}
    # Reads a request's body to its end before it answers.
    location = /form {{ proxy_pass http://127.0.0.1:{origin}/1k; proxy_method GET; }}
  }}"""

NGINX = """log_format fetches escape=json '{{"time":"$msec","client":"$remote_addr","method":"$request_method",'
    '"host":"$host","uri":"$request_uri","protocol":"$server_protocol","status":$status,"bytes":$body_bytes_sent,'
    '"agent":"$http_user_agent","referer":"$http_referer","seconds":$request_time,'
    '"upstream_seconds":"$upstream_response_time","id":"$request_id"}}';
  access_log {work}/nginx.log fetches buffer=64k flush=1s;
  ssl_certificate {work}/cert.pem; ssl_certificate_key {work}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  upstream site {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 10m; }}
  server {{
    listen 127.0.0.1:{plain} backlog=4096; listen 127.0.0.1:{tls} ssl http2 backlog=4096;
    location / {{
      proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}"""

HAPROXY = """global
  nbthread 1
  maxconn 16384
  no strict-limits
  log stdout len 2048 format raw local0 info
defaults
  mode http
  log global
  log-format '{{"time":"%Ts.%ms","client":"%ci","method":"%HM","host":"%[capture.req.hdr(0),json]",\
"uri":"%[capture.req.uri,json]","protocol":"%HV","status":%ST,"bytes":%B,"agent":"%[capture.req.hdr(1),json]",\
"referer":"%[capture.req.hdr(2),json]","milliseconds":%Ta,"upstream_milliseconds":"%Tr","id":"%ID"}}'
  unique-id-format %[uuid()]
  option http-keep-alive
  http-reuse always
  timeout connect 10s
  timeout client 600s
  timeout server 600s
frontend site
  bind 127.0.0.1:{plain} backlog 4096
  bind 127.0.0.1:{tls} ssl crt {work}/both.pem alpn h2,http/1.1 backlog 4096
  http-request capture req.hdr(host) len 64
  http-request capture req.hdr(user-agent) len 128
  http-request capture req.hdr(referer) len 128
  option forwardfor
  default_backend origin
backend origin
  server one 127.0.0.1:{origin} pool-max-conn 256
"""


class Invalid(Exception):
    """The measurement cannot be believed."""


class Program(parts.Process):
    """A program on one CPU, and what it has used."""

    def __init__(self, work, name, argv, cpu):
        if cpu is not None:
            argv = [tool("taskset"), "-c", cpu, *argv]
        super().__init__(work, name, argv)

    def wait_for(self, port):
        def listens():
            self.check_alive()
            parts.socket.create_connection(("127.0.0.1", port), 1).close()
            return True

        wait_until(f"{self.name} on port {port}", listens)

    def check_alive(self):
        if self.child.poll() is not None:
            raise Invalid(f"{self.name} ended: {self.last_words()}")

    def last_words(self):
        return self.said.read_text(errors="replace")[-2000:]

    def cpu_seconds(self):
        """CPU time of the process with all its threads so far: (by the scheduler, by clock ticks)."""
        stat = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = (int(stat[11]) + int(stat[12])) / TICKS
        exact = 0
        for task in os.listdir(f"/proc/{self.child.pid}/task"):
            exact += int(pathlib.Path(f"/proc/{self.child.pid}/task/{task}/schedstat").read_text().split()[0])
        return exact / 1e9, ticks

    def cpu_since(self, before):
        """CPU seconds since an earlier answer of `cpu_seconds`; fails if the program has ended."""
        self.check_alive()
        after = self.cpu_seconds()
        # Per-thread figures are exact but forget threads that ended; ticks remember them, to 10 ms.
        return max(after[0] - before[0], after[1] - before[1] - 2 / TICKS)

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


class Proxy:
    """A proxy in front of the origin: its process, its two ports, and for byline what it must have recorded."""

    def __init__(self, name, process, plain, tls):
        self.name, self.process, self.plain, self.tls = name, process, plain, tls
        self.metered = 0

    def url(self, protocol, size):
        """The address of a body for `h1`, `h1s` (over TLS), `h2` (over TLS) or `h2c` (without)."""
        if protocol in ("h1", "h2c"):
            return f"http://127.0.0.1:{self.plain}/{size}"
        return f"https://localhost:{self.tls}/{size}"


class Stage:
    """A directory with the site, the keys and the policy, the origin, and the proxies that were started."""

    def __init__(self, work):
        self.work, self.processes = work, []
        site = work / "site"
        site.mkdir()
        self.bodies = {}
        for name, size in SIZES.items():
            seed = hashlib.sha256(name.encode()).hexdigest()
            self.bodies[name] = ((seed + " ") * (size // 65 + 1))[:size].encode()
            (site / name).write_bytes(self.bodies[name])
        (site / "film").write_bytes(bytes(1 << 20))
        (work / "policy.toml").write_text(POLICY)
        self.make_certificate()
        (self.origin,) = free_ports(1)
        self.origin_process = self.start("origin", self.nginx_argv("origin", ORIGIN, origin=self.origin), LOAD_CPU)
        self.origin_process.wait_for(self.origin)

    def make_certificate(self):
        """A private CA and a certificate of it: what an operator has who is not on the Internet."""
        work, openssl = self.work, tool("openssl")

        def run(*argv):
            subprocess.run([openssl, *map(str, argv)], check=True, capture_output=True, cwd=work)

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "200", "-subj", "/CN=Bench CA")
        run("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost")
        (work / "extensions").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n"
                                         "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n")
        run("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "200", "-extfile", "extensions", "-out", "cert.pem")
        (work / "both.pem").write_text((work / "cert.pem").read_text() + (work / "key.pem").read_text())

    def start(self, name, argv, cpu=PROXY_CPU):
        process = Program(self.work, name, argv, cpu)
        self.processes.append(process)
        return process

    def nginx_argv(self, name, body, **ports):
        user = "user root;" if os.geteuid() == 0 else ""
        conf = self.work / f"{name}.conf"
        conf.write_text(NGINX_FRAME.format(
            user=user, work=self.work, name=name, body=body.format(work=self.work, **ports)))
        return [tool("nginx"), "-c", conf, "-e", self.work / f"{name}.err"]

    def nginx(self):
        """nginx with a buffered JSON access log: the reference of every comparison."""
        plain, tls = free_ports(2)
        return self.proxy("nginx", self.nginx_argv("nginx", NGINX, origin=self.origin, plain=plain, tls=tls), plain, tls)

    def haproxy(self):
        plain, tls = free_ports(2)
        conf = self.work / "haproxy.cfg"
        conf.write_text(HAPROXY.format(work=self.work, origin=self.origin, plain=plain, tls=tls))
        return self.proxy("haproxy", [tool("haproxy"), "-db", "-f", conf], plain, tls)

    def pingora(self, binary):
        plain, tls = free_ports(2)
        work = self.work
        argv = [binary, plain, tls, self.origin, work / "cert.pem", work / "key.pem", work / "pingora.log"]
        proxy = self.proxy("pingora", argv, plain, tls)
        # SIGTERM would make it wait for minutes.
        proxy.process.end_signal = signal.SIGINT
        return proxy

    def byline(self, binary, name="byline", more="", wrap=(), cpu=PROXY_CPU, threads=1, patience=30,
               policy=None, offline=True, env=None):
        """`more` goes to the end of its configuration; `wrap` is a program that runs it, such as valgrind."""
        plain, tls, admin = free_ports(3)
        conf = self.work / f"{name}.toml"
        conf.write_text(BYLINE.format(work=self.work, name=name, plain=plain, tls=tls, admin=admin, origin=self.origin,
                                      threads=threads, more=more, policy=policy or self.work / "policy.toml"))
        argv = [*wrap, binary, "serve", "--config", conf, *(["--offline"] if offline else [])]
        if env:
            argv = [tool("env"), *(f"{name}={value}" for name, value in env.items()), *argv]
        proxy = self.proxy(name, argv, plain, tls, cpu)

        def ready():
            proxy.process.check_alive()
            return parts.fetch(f"http://127.0.0.1:{admin}/readyz")[0] == 200

        wait_until(f"{name} to be ready", ready, patience)
        proxy.binary, proxy.admin, proxy.ledger = binary, admin, self.work / f"{name}-state" / "ledger"
        return proxy

    def proxy(self, name, argv, plain, tls, cpu=PROXY_CPU):
        process = self.start(name, argv, cpu)
        for port in (plain, tls):
            process.wait_for(port)
        return Proxy(name, process, plain, tls)

    def check_bodies(self, proxy):
        """Every body through every listener, for a crawler and for a person, is the one on the origin's disk."""
        trust = ssl.create_default_context(cafile=str(self.work / "ca.pem"))
        for protocol in ("h1", "h1s"):
            for size, body in self.bodies.items():
                for agent in (CRAWLER, PERSON):
                    headers = {"User-Agent": agent, "Host": "localhost"}
                    request = urllib.request.Request(proxy.url(protocol, size), headers=headers)
                    context = trust if protocol == "h1s" else None
                    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                        if answer.status != 200 or answer.read() != body:
                            raise Invalid(f"{proxy.name} gives a wrong body for {protocol} {size}")
                    if agent is CRAWLER:
                        proxy.metered += 1

    def check_ledger(self, byline):
        """Stops byline. Its ledger must verify and hold one record for every metered answer."""
        code = byline.process.stop()
        if code != 0:
            raise Invalid(f"byline ended with {code}: {byline.process.last_words()}")
        said = subprocess.run([byline.binary, "verify", byline.ledger], capture_output=True, text=True)
        if said.returncode:
            raise Invalid(f"the ledger does not verify: {said.stdout}{said.stderr}")
        complete = 0
        reader = subprocess.Popen([byline.binary, "ledger", "cat", byline.ledger], stdout=subprocess.PIPE)
        for line in reader.stdout:
            if b'"type":"ai.usage.fetch.v1"' in line and b'"outcome":"complete"' in line:
                complete += 1
        if reader.wait():
            raise Invalid("the ledger cannot be read")
        if complete < byline.metered:
            raise Invalid(f"{complete} records for {byline.metered} metered answers")
        return f"{byline.name}: {complete} records for {byline.metered} metered answers; {said.stdout.splitlines()[-1]}"

    def end(self):
        for process in reversed(self.processes):
            process.stop()


def end_cleanly():
    """SIGTERM ends what was started, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def settle():
    """What is in flight when a load generator stops is answered, charged and recorded a moment later."""
    time.sleep(0.15)
