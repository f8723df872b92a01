#!/usr/bin/env python3
"""What a metered request costs: byline against nginx with a JSON access log, measured in pairs.

Origin and load generator share CPU 0, the proxy under test has CPU 1 for itself. Reference and candidate take turns
(A B, B A, ...) so that a slow minute of the machine hits both, and what is compared is the CPU time that the kernel
charged to the proxy's process per request: user and system, loopback TCP work included. Wall time is shown as well,
but on a shared machine it says little.

Nothing is taken on trust. Every body is compared before the measurement; during it the load generator's own counts of
failures must be zero; afterwards the ledger must verify and hold one record per metered answer.

Exit codes: 0 measured; 1 a bar was missed (--max-ratio); 2 the measurement is not valid.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

SIZES = {"1k": 1024, "10k": 10 * 1024, "100k": 100 * 1024}
CASES = ["h1:1k", "h1:10k", "h1:100k", "h1s:10k", "h2:10k"]
CRAWLER = "Mozilla/5.0 (compatible; BenchBot/1.0; +https://bench.example/bot)"
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
TICKS = os.sysconf("SC_CLK_TCK")

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

CONFIG = """listen = "127.0.0.1:{plain}"
admin = "127.0.0.1:{admin}"
state = "{work}/state"
policy = "{work}/policy.toml"
upstream = "http://127.0.0.1:{origin}"
threads = 1

[[listener]]
address = "127.0.0.1:{tls}"
certificate = "{work}/cert.pem"
key = "{work}/key.pem"
"""

NGINX_FRAME = """user root; worker_processes 1; daemon off; master_process off;
pid {work}/{name}.pid; error_log {work}/{name}.err warn; worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  keepalive_timeout 10m; keepalive_requests 1000000000;
  client_body_temp_path {work}/{name}.1; proxy_temp_path {work}/{name}.2; fastcgi_temp_path {work}/{name}.3;
  uwsgi_temp_path {work}/{name}.4; scgi_temp_path {work}/{name}.5;
  {body}
}}
"""

ORIGIN = """access_log off; sendfile on; tcp_nopush on; open_file_cache max=64 inactive=10m;
  default_type text/html;
  server {{ listen 127.0.0.1:{origin} backlog=4096; root {work}/site; }}"""

REFERENCE = """log_format fetches escape=json '{{"time":"$msec","client":"$remote_addr","method":"$request_method",'
    '"host":"$host","uri":"$request_uri","protocol":"$server_protocol","status":$status,"bytes":$body_bytes_sent,'
    '"agent":"$http_user_agent","referer":"$http_referer","seconds":$request_time,'
    '"upstream_seconds":"$upstream_response_time","id":"$request_id"}}';
  access_log {work}/fetches.log fetches buffer=64k flush=1s;
  ssl_certificate {work}/cert.pem; ssl_certificate_key {work}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  upstream site {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 10m; }}
  server {{
    listen 127.0.0.1:{plain} backlog=4096; listen 127.0.0.1:{tls} ssl http2 backlog=4096;
    location / {{
      proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}"""


class Invalid(Exception):
    """The measurement cannot be believed."""


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
        raise Invalid(f"{name} is not installed: `make deps`")
    return path


class Process:
    """A program on one CPU, in a process group of its own."""

    def __init__(self, work, name, argv, cpu):
        self.name, self.said = name, work / f"{name}.said"
        argv = ["taskset", "-c", str(cpu), *map(str, argv)] if cpu is not None else list(map(str, argv))
        with open(self.said, "wb") as said:
            self.child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )

    def wait_for(self, port):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise Invalid(f"{self.name} ended: {self.said.read_text(errors='replace')[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Invalid(f"{self.name} does not listen on {port}")

    def cpu(self):
        """CPU time of the process with all its threads so far: (seconds by the scheduler, seconds by clock ticks)."""
        stat = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = (int(stat[11]) + int(stat[12])) / TICKS
        exact = 0
        for task in os.listdir(f"/proc/{self.child.pid}/task"):
            exact += int(pathlib.Path(f"/proc/{self.child.pid}/task/{task}/schedstat").read_text().split()[0])
        return exact / 1e9, ticks

    def rss_mib(self):
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.cpus = (0, 1) if os.cpu_count() and os.cpu_count() > 1 and not args.no_pin else (None, None)
        self.answers = {"byline": 0, "nginx": 0}
        self.metered = 0
        self.processes = []

    def start(self):
        work = self.work
        site = work / "site"
        site.mkdir()
        self.bodies = {}
        for name, size in SIZES.items():
            seed = hashlib.sha256(name.encode()).hexdigest()
            self.bodies[name] = ((seed + " ") * (size // 65 + 1))[:size].encode()
            (site / name).write_bytes(self.bodies[name])
        subprocess.run(
            [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", work / "key.pem", "-out", work / "cert.pem", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )
        origin, ref_plain, ref_tls, plain, tls, admin = free_ports(6)
        self.admin = admin
        self.port = {"nginx": {"h1": ref_plain, "tls": ref_tls}, "byline": {"h1": plain, "tls": tls}}

        def nginx(name, body, cpu, **ports):
            text = NGINX_FRAME.format(work=work, name=name, body=body.format(work=work, **ports))
            (work / f"{name}.conf").write_text(text)
            return self.run(name, [tool("nginx"), "-c", work / f"{name}.conf", "-e", work / f"{name}.err"], cpu)

        nginx("origin", ORIGIN, self.cpus[0], origin=origin).wait_for(origin)
        self.nginx = nginx("nginx", REFERENCE, self.cpus[1], origin=origin, plain=ref_plain, tls=ref_tls)
        self.nginx.wait_for(ref_plain)
        (work / "policy.toml").write_text(POLICY)
        (work / "byline.toml").write_text(
            CONFIG.format(work=work, plain=plain, tls=tls, admin=admin, origin=origin)
        )
        self.byline = self.run(
            "byline", [self.args.binary, "serve", "--config", work / "byline.toml", "--offline"], self.cpus[1]
        )
        self.byline.wait_for(plain)
        self.byline.wait_for(admin)

    def run(self, name, argv, cpu):
        process = Process(self.work, name, argv, cpu)
        self.processes.append(process)
        return process

    def url(self, who, protocol, size):
        if protocol == "h1":
            return f"http://127.0.0.1:{self.port[who]['h1']}/{size}"
        return f"https://localhost:{self.port[who]['tls']}/{size}"

    def check_bodies(self):
        trust = ssl.create_default_context(cafile=str(self.work / "cert.pem"))
        for who in ("nginx", "byline"):
            for protocol in ("h1", "h1s"):
                for size, body in self.bodies.items():
                    for agent in (CRAWLER, PERSON):
                        request = urllib.request.Request(
                            self.url(who, protocol, size), headers={"User-Agent": agent, "Host": "localhost"}
                        )
                        context = trust if protocol == "h1s" else None
                        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                            if answer.status != 200 or answer.read() != body:
                                raise Invalid(f"{who} gives a wrong body for {protocol} {size}")
                        if who == "byline" and agent is CRAWLER:
                            self.metered += 1

    def load(self, who, protocol, size, agent, seconds):
        """Runs the load generator: answers counted by it, all good, or the measurement is void."""
        url = self.url(who, protocol, size)
        if protocol == "h2":
            argv = [tool("h2load"), "-c16", "-m4", "-t1", f"-D{seconds}", "-H", f"user-agent: {agent}", url]
        else:
            argv = [tool("wrk"), "-t1", "-c64", f"-d{seconds}s", "-H", f"User-Agent: {agent}",
                    "-H", "Host: localhost", url]
        if self.cpus[0] is not None:
            argv = ["taskset", "-c", str(self.cpus[0]), *argv]
        began = time.monotonic()
        said = subprocess.run(argv, capture_output=True, text=True, timeout=seconds * 5 + 60)
        wall = time.monotonic() - began
        if said.returncode:
            raise Invalid(f"{argv} failed: {said.stderr}{said.stdout}")
        if protocol == "h2":
            counts = re.search(
                r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored",
                said.stdout,
            )
            good, failed = int(counts.group(4)), int(counts.group(5)) + int(counts.group(6))
            codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said.stdout)
            failed += sum(int(codes.group(n)) for n in (2, 3, 4))
            read = 0
        else:
            good = int(re.search(r"(\d+) requests in", said.stdout).group(1))
            errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", said.stdout)
            failed = sum(map(int, errors.groups())) if errors else 0
            other = re.search(r"Non-2xx or 3xx responses: (\d+)", said.stdout)
            failed += int(other.group(1)) if other else 0
            amount = re.search(r"requests in [^,]+, ([\d.]+)([KMG]?B) read", said.stdout)
            read = float(amount.group(1)) * {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[amount.group(2)]
        if failed:
            raise Invalid(f"{who} {protocol} {size}: {failed} requests failed\n{said.stdout}")
        if read and read < 0.98 * good * SIZES[size]:
            raise Invalid(f"{who} {protocol} {size}: {read:.0f} bytes for {good} answers of {SIZES[size]}")
        if not good:
            raise Invalid(f"{who} {protocol} {size}: not one answer")
        return good, wall

    def measure(self, who, protocol, size, agent, seconds):
        process = self.byline if who == "byline" else self.nginx
        before = process.cpu()
        count, wall = self.load(who, protocol, size, agent, seconds)
        # What is in flight when the generator stops is answered, charged and recorded a moment later.
        time.sleep(0.15)
        after = process.cpu()
        if process.child.poll() is not None:
            raise Invalid(f"{who} ended under load")
        if who == "byline" and agent is CRAWLER:
            self.metered += count
        # Per-thread figures are exact but forget threads that ended; ticks remember them, to 10 ms.
        cpu = max(after[0] - before[0], after[1] - before[1] - 2 / TICKS)
        return {"micros": cpu / count * 1e6, "per_second": count / wall, "busy": cpu / wall}

    def pairs(self, protocol, size, agent):
        for who in ("nginx", "byline"):
            self.measure(who, protocol, size, agent, 1)
        runs = []
        for number in range(self.args.rounds):
            order = ("nginx", "byline") if number % 2 == 0 else ("byline", "nginx")
            pair = {who: self.measure(who, protocol, size, agent, self.args.seconds) for who in order}
            runs.append(pair)
        return runs

    def check_ledger(self):
        """One record per metered answer, in a ledger that verifies."""
        code = self.byline.stop()
        if code != 0:
            raise Invalid(f"byline ended with {code}: {self.byline.said.read_text(errors='replace')[-2000:]}")
        ledger = self.work / "state" / "ledger"
        said = subprocess.run([self.args.binary, "verify", ledger], capture_output=True, text=True)
        if said.returncode:
            raise Invalid(f"the ledger does not verify: {said.stdout}{said.stderr}")
        complete = 0
        reader = subprocess.Popen([self.args.binary, "ledger", "cat", ledger], stdout=subprocess.PIPE)
        for line in reader.stdout:
            if b'"type":"ai.usage.fetch.v1"' in line and b'"outcome":"complete"' in line:
                complete += 1
        if reader.wait():
            raise Invalid("the ledger cannot be read")
        if complete < self.metered:
            raise Invalid(f"{complete} records for {self.metered} metered answers")
        return complete, said.stdout.strip().splitlines()[-1:]

    def end(self):
        for process in reversed(self.processes):
            process.stop()


def middle(runs, who, key):
    return statistics.median(run[who][key] for run in runs)


def report(bench, cases):
    rows = []
    print(f"{'case':22} {'nginx µs':>9} {'byline µs':>10} {'ratio':>6} {'(min..max)':>13} "
          f"{'nginx/s':>9} {'byline/s':>9} {'busy':>11}")
    for label, agent in cases:
        kind, protocol, size = label.split(":")
        runs = bench.pairs(protocol, size, agent)
        ratios = [run["byline"]["micros"] / run["nginx"]["micros"] for run in runs]
        row = {
            "case": label, "ratio": statistics.median(ratios), "ratios": ratios,
            **{f"{who}_{key}": middle(runs, who, key) for who in ("nginx", "byline")
               for key in ("micros", "per_second", "busy")},
        }
        rows.append(row)
        print(f"{kind + ' ' + protocol + ' ' + size:22} {row['nginx_micros']:9.1f} {row['byline_micros']:10.1f} "
              f"{row['ratio']:6.2f} {f'({min(ratios):.2f}..{max(ratios):.2f})':>13} "
              f"{row['nginx_per_second']:9.0f} {row['byline_per_second']:9.0f} "
              f"{row['nginx_busy']:5.2f}/{row['byline_busy']:.2f}", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=os.path.abspath, help="the release build of byline")
    parser.add_argument("--cases", default=",".join(CASES), help="PROTOCOL:SIZE of h1, h1s, h2 and 1k, 10k, 100k")
    parser.add_argument("--kinds", default="metered,pass", help="metered (a crawler), pass (a person)")
    parser.add_argument("--rounds", type=int, default=3, help="pairs per case")
    parser.add_argument("--seconds", type=int, default=2, help="length of a run")
    parser.add_argument("--max-ratio", type=float, help="fail when a median ratio is above this")
    parser.add_argument("--json", type=pathlib.Path, help="write every figure to this file")
    parser.add_argument("--no-pin", action="store_true", help="let the kernel place the processes")
    args = parser.parse_args()
    agents = {"metered": CRAWLER, "pass": PERSON}
    cases = [(f"{kind}:{case}", agents[kind]) for kind in args.kinds.split(",") for case in args.cases.split(",")]
    work = pathlib.Path(tempfile.mkdtemp(prefix="byline-bench-"))
    bench = Bench(args, work)
    began = time.monotonic()
    try:
        bench.start()
        bench.check_bodies()
        print(f"CPU time per request of the proxy alone; {args.rounds} pairs of {args.seconds} s; "
              f"load {os.getloadavg()[0]:.1f}; {'pinned' if bench.cpus[0] is not None else 'not pinned'}", flush=True)
        rows = report(bench, cases)
        rss = bench.byline.rss_mib()
        records, root = bench.check_ledger()
        print(f"{records} records for {bench.metered} metered answers; {' '.join(root)}")
        print(f"{rss:.0f} MiB resident after the load; {time.monotonic() - began:.0f} s in all")
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")
        missed = [row["case"] for row in rows if args.max_ratio and row["ratio"] > args.max_ratio]
        if missed:
            print(f"above {args.max_ratio}: {', '.join(missed)}", file=sys.stderr)
            return 1
        return 0
    except Invalid as why:
        print(f"not valid: {why}", file=sys.stderr)
        return 2
    finally:
        bench.end()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
