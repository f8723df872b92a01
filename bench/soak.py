#!/usr/bin/env python3
"""Hours in minutes: does byline stay the same size while everything about its clients changes?

Visitors and crawlers with ever new names, addresses, hosts and paths come and go over HTTP/1.1, TLS and HTTP/2; some
hang up in the middle of a head, a body or a load of streams; the policy changes once a minute. Every few seconds the
resident set, descriptors, threads and metric series of the process are noted. What is judged is how much each grew in
the second half of the run, by a least-squares line: by then every cache and table should have filled. Connections to the
origin are counted apart from other descriptors: how many lie idle follows how many requests were under way at once, up to
the pool's limit.

Exit codes: 0 flat; 1 something grows, or a request failed; 2 the run is not valid.
"""

import argparse
import collections
import csv
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

from programs import CRAWLER, PERSON, POLICY, Invalid, Stage, end_cleanly, parts, tool

CRAWLERS = ["GPTBot/1.2", "ClaudeBot/1.0", "CCBot/2.0", "Amazonbot/0.1", "PerplexityBot/1.0", "Bytespider"]
PATIENCE = 30
# What each may grow in the second half: more is a leak. Memory also by a share of itself: an allocator is never quite still.
ALLOWED = {"rss_kib": 6 * 1024, "descriptors": 16, "threads": 0.5, "series": 0.5}
# Of each thread; docs/limits.md.
ORIGIN_POOL = 128
ALLOWED_SHARE = {"rss_kib": 0.04}


def main():
    args = arguments()
    end_cleanly()
    os.nice(args.nice)
    work = pathlib.Path(tempfile.mkdtemp(prefix="byline-soak-", dir=args.directory))
    stage = None
    try:
        stage = Stage(work)
        return soak(stage, args)
    except (Invalid, TimeoutError) as why:
        print(f"not valid: {why}", file=sys.stderr)
        return 2
    finally:
        if stage:
            stage.end()
        shutil.rmtree(work, ignore_errors=True)


def soak(stage, args):
    byline = stage.byline(args.binary, cpu=None, threads=args.threads)
    stage.check_bodies(byline)
    churn = Churn(stage, byline, args.rate, args.seed)
    workers = [threading.Thread(target=churn.visit, args=(number,), daemon=True) for number in range(args.clients)]
    workers.append(threading.Thread(target=churn.load_h2, daemon=True))
    for worker in workers:
        worker.start()
    samples = []
    began, reloaded = time.monotonic(), time.monotonic()
    while time.monotonic() - began < args.minutes * 60:
        time.sleep(args.every)
        samples.append({"seconds": time.monotonic() - began, **sample(byline, stage.origin)})
        if time.monotonic() - reloaded > 60:
            reloaded = time.monotonic()
            churn.change_policy()
        if not any(worker.is_alive() for worker in workers):
            break
    churn.over.set()
    for worker in workers:
        worker.join(60)
    if args.csv:
        with open(args.csv, "w", newline="") as out:
            table = csv.DictWriter(out, samples[0])
            table.writeheader()
            table.writerows(samples)
    byline.metered += churn.counts["metered answers"]
    counts = dict(sorted(churn.counts.items()))
    print(", ".join(f"{count:,} {what}" for what, count in counts.items()), flush=True)
    print(stage.check_ledger(byline))
    rows, grows = judge(samples)
    pool = [row["to_origin"] for row in samples]
    print(f"connections to the origin: {pool[0]} at the start, {pool[-1]} at the end, {max(pool)} at most; "
          f"{ORIGIN_POOL * args.threads} may lie idle")
    rows["to_origin"] = {"first": pool[0], "half": pool[len(pool) // 2], "last": pool[-1], "slope": None}
    if args.json:
        found = json.loads(args.json.read_text()) if args.json.exists() else {}
        found["soak"] = {"minutes": args.minutes, "counts": counts, "failures": len(churn.failures), "rows": rows}
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    for failure in churn.failures[:20]:
        print(f"failed: {failure}", file=sys.stderr)
    for what in grows:
        print(f"not flat: {what}", file=sys.stderr)
    return 1 if grows or churn.failures else 0


def sample(byline, origin):
    process = byline.process
    if process.child.poll() is not None:
        raise Invalid(f"byline ended: {process.last_words()}")
    proc = pathlib.Path(f"/proc/{process.child.pid}")
    status, text = parts.fetch(f"http://127.0.0.1:{byline.admin}/metrics")
    if status != 200:
        raise Invalid(f"/metrics answers {status}")
    series = sum(1 for line in text.splitlines() if line and not line.startswith(b"#"))
    descriptors = [target for target in map(read_link, (proc / "fd").iterdir()) if target]
    to_origin = len(sockets_to(origin).intersection(descriptors))
    return {"rss_kib": process.rss_kib(), "descriptors": len(descriptors) - to_origin, "to_origin": to_origin,
            "threads": len(os.listdir(proc / "task")), "series": series}


def read_link(path):
    try:
        return os.readlink(path)
    except FileNotFoundError:  # closed since it was listed
        return None


def sockets_to(port):
    """The sockets whose other end is this port, as descriptors name them."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}")}


def judge(samples):
    """The slope of each figure over the second half, and those that grow more than they may."""
    half = samples[len(samples) // 2:]
    if len(half) < 5:
        raise Invalid(f"only {len(half)} samples in the second half")
    length = half[-1]["seconds"] - half[0]["seconds"]
    print(f"{len(samples)} samples; slopes over the last {length / 60:.1f} minutes")
    print(f"{'':12} {'first':>10} {'half-way':>10} {'last':>10} {'lowest':>10} {'highest':>10} {'per minute':>11} {'grew by':>10} {'may':>10}")
    rows, grows = {}, []
    for what, allowed in ALLOWED.items():
        values = [row[what] for row in half]
        each_second = slope([row["seconds"] for row in half], values)
        grew = each_second * length
        allowed = max(allowed, ALLOWED_SHARE.get(what, 0) * sum(values) / len(values))
        print(f"{what:12} {samples[0][what]:10} {values[0]:10} {values[-1]:10} {min(values):10} {max(values):10} "
              f"{each_second * 60:+11.2f} {grew:+10.1f} {allowed:10.1f}")
        rows[what] = {"first": samples[0][what], "half": values[0], "last": values[-1], "slope": each_second * 60}
        if grew > allowed:
            grows.append(f"{what} grew by {grew:.1f} in {length / 60:.1f} minutes, allowed are {allowed:.1f}")
    return rows, grows


def slope(xs, ys):
    """Of the least-squares line."""
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)


class Churn:
    """Clients that never come twice."""

    def __init__(self, stage, byline, rate, seed):
        self.stage, self.byline, self.seed = stage, byline, seed
        self.pause = None if rate == 0 else rate
        self.over, self.counts, self.failures = threading.Event(), collections.Counter(), []
        self.lock = threading.Lock()
        self.trust = ssl.create_default_context(cafile=str(stage.work / "ca.pem"))
        self.policies = 0
        print(f"seed {seed}", flush=True)

    def count(self, *what):
        with self.lock:
            self.counts.update(what)

    def visit(self, number):
        """One client after the other, so many a second."""
        dice = random.Random(self.seed * 1000 + number)
        acts = [self.browse, self.browse, self.browse, self.browse, self.post, self.half_a_head, self.half_a_body]
        while not self.over.wait(dice.expovariate(self.pause)):
            act = dice.choice(acts)
            try:
                act(dice)
            except (OSError, http.client.HTTPException, Invalid) as error:
                self.failures.append(f"{act.__name__}: {error!r}")
                self.count("failures")

    def browse(self, dice):
        """A connection with some requests, each answered in full."""
        connection = self.connect(dice, tls=dice.random() < 0.3)
        try:
            for _ in range(dice.choice([1, 1, 2, 5, 20])):
                agent, path = name(dice), place(dice)
                method = "HEAD" if dice.random() < 0.1 else "GET"
                headers = {"Host": f"{word(dice)}.example", "User-Agent": agent}
                if dice.random() < 0.1:
                    headers["Range"] = "bytes=0-99"
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                body = answer.read()
                self.check(answer, method, path, body, agent)
        finally:
            connection.close()

    def check(self, answer, method, path, body, agent):
        whole = self.stage.bodies["10k"] if path.startswith("/works/") else None
        if answer.status == 200 and whole is not None and method == "GET" and body != whole:
            raise Invalid(f"wrong body for {path}")
        # A claimed crawler without proof is sent away where the rule asks for one.
        if answer.status not in (200, 206, 304, 404) and not (agent.startswith("Mozilla/5.0 (compatible; ") and answer.status in (401, 402, 403, 429)):
            raise Invalid(f"{method} {path} as {agent}: {answer.status}")
        self.count("answers")
        if agent == CRAWLER and method == "GET" and answer.status == 200:
            self.count("metered answers")

    def post(self, dice):
        connection = self.connect(dice)
        try:
            connection.request("POST", "/form", body=bytes(dice.randrange(200_000)),
                               headers={"User-Agent": name(dice, people=True), "Host": f"{word(dice)}.example"})
            answer = connection.getresponse()
            if answer.read() != self.stage.bodies["1k"] or answer.status != 200:
                raise Invalid(f"POST: {answer.status}")
            self.count("posts")
        finally:
            connection.close()

    def half_a_head(self, dice):
        connection = self.connect(dice)
        connection.connect()
        connection.sock.sendall(f"GET {place(dice)} HTTP/1.1\r\nHost: {word(dice)}".encode())
        self.break_off(connection)

    def half_a_body(self, dice):
        """Hangs up while the answer is on its way, or while it sends."""
        connection = self.connect(dice, tls=dice.random() < 0.3)
        connection.connect()
        if dice.random() < 0.3:
            head = f"POST /form HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {name(dice)}\r\nContent-Length: 100000\r\n\r\nhalf"
            connection.sock.sendall(head.encode())
        else:
            agent = CRAWLER if dice.random() < 0.5 else name(dice)
            connection.sock.sendall(f"GET /film HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {agent}\r\n\r\n".encode())
            connection.sock.recv(dice.randrange(1, 100_000))
        self.break_off(connection)

    def break_off(self, connection):
        # Closing with this option sends a reset.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        self.count("hang-ups")

    def connect(self, dice, tls=False):
        source = (f"127.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}", 0)
        if tls:
            connection = OverTls(self.byline.tls, source, self.trust)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.byline.plain, PATIENCE, source_address=source)
        self.count("connections over TLS" if tls else "connections")
        return connection

    def load_h2(self):
        """HTTP/2 with many streams, over TLS and without; now and then the client is killed in the middle."""
        dice = random.Random(self.seed * 1000 - 1)
        while not self.over.wait(1):
            tls, killed = dice.random() < 0.5, dice.random() < 0.2
            agent = CRAWLER if dice.random() < 0.5 else PERSON
            base = f"https://localhost:{self.byline.tls}" if tls else f"http://127.0.0.1:{self.byline.plain}"
            pages = [base + "/works/" + word(dice) for _ in range(20)] + ([base + "/film"] * 20 if killed else [])
            count = 300 if not killed else 100_000
            child = subprocess.Popen(
                [tool("h2load"), f"-n{count}", f"-c{dice.randrange(1, 8)}", f"-m{dice.randrange(1, 16)}",
                 "-H", f"user-agent: {agent}", *pages], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if killed:
                time.sleep(dice.uniform(0.05, 0.5))
                child.kill()
                child.communicate()
                self.count("HTTP/2 loads killed")
                continue
            said = child.communicate(timeout=120)[0]
            if f"{count} succeeded, 0 failed, 0 errored" not in said or f"{count} 2xx" not in said:
                self.failures.append(f"h2load: {said}")
            self.count("HTTP/2 loads")
            with self.lock:
                self.counts["answers"] += count
                self.counts["metered answers"] += count if agent == CRAWLER else 0

    def change_policy(self):
        self.policies += 1
        text = POLICY.replace('"0.0001 USD"', f'"0.0001{self.policies:03} USD"')
        (self.stage.work / "policy.toml").write_text(text)
        self.byline.process.child.send_signal(signal.SIGHUP)
        self.count("policies")


class OverTls(http.client.HTTPConnection):
    def __init__(self, port, source, trust):
        super().__init__("127.0.0.1", port, PATIENCE, source_address=source)
        self.trust = trust

    def connect(self):
        super().connect()
        self.sock = self.trust.wrap_socket(self.sock, server_hostname="localhost")


def word(dice):
    return "".join(dice.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=dice.randrange(4, 16)))


def name(dice, people=False):
    """Who comes: the paying crawler, one that nobody knows, one that many know, or somebody with a browser."""
    kind = 3 if people else dice.randrange(4)
    if kind == 0:
        return CRAWLER
    if kind == 1:
        return f"Mozilla/5.0 (compatible; {word(dice)}Bot/{dice.randrange(9)}.0; +https://{word(dice)}.example/bot)"
    if kind == 2:
        return f"Mozilla/5.0 (compatible; {dice.choice(CRAWLERS)}; {word(dice)})"
    return f"Mozilla/5.0 (X11; Linux x86_64; rv:{dice.randrange(99)}.0) Gecko/{word(dice)} Firefox/{dice.randrange(199)}"


def place(dice):
    path = "/".join(word(dice) for _ in range(dice.randrange(1, 4)))
    query = f"?{word(dice)}={word(dice)}" if dice.random() < 0.3 else ""
    return (f"/works/{path}" if dice.random() < 0.8 else f"/{path}") + query


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=os.path.abspath, help="the build of byline")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=3, help="seconds between samples")
    parser.add_argument("--clients", type=int, default=12, help="HTTP/1.1 clients at once")
    parser.add_argument("--rate", type=float, default=8, help="visits a second of each")
    parser.add_argument("--threads", type=int, default=2, help="threads of byline")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 20))
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--csv", type=pathlib.Path, help="write the samples to this file")
    parser.add_argument("--json", type=pathlib.Path, help="add the figures to this file")
    parser.add_argument("--directory", type=pathlib.Path, help="where the ledger is written")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
