#!/usr/bin/env python3
"""What a request through byline costs, next to nginx with a JSON access log, HAProxy and Pingora.

Each measurement is a module of its own beside this file, which starts the programs and prints what was found:

    requests      cost.py          CPU time per request, passed and metered, in paired rounds
    handshakes    handshakes.py    CPU time per full TLS handshake
    latency       latency.py       p50, p99 and p99.9 at a fixed rate
    memory        memory.py        resident set with idle connections
    appends       appends.py       durable ledger entries a second
    restart       restart.py       time to the first answer with a million entries in the ledger
    signatures    signatures.py    CPU time that a crawler's signature adds
    counts        counts.py        system calls and instructions per request: no noise, so guard.py keeps an eye on them
    slow          slow_clients.py  what others notice of slowhttptest
    tls           tls_check.py     what testssl finds

Nothing is taken on trust. Every body is compared before the measurement; during it the load generator's own counts of
failures must be zero; afterwards the ledger must verify and hold one record per metered answer.

Exit codes: 0 measured; 1 a bar was missed (--floors, a slow start, a slow client, a TLS finding); 2 the measurement is not valid.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

import appends
import cost
import counts
import goals
import handshakes
import latency
import memory
import restart
import signatures
import slow_clients
import tables
import tls_check
from programs import PROXY_CPU, Invalid, Stage, end_cleanly

MEASUREMENTS = ["requests", "handshakes", "latency", "memory", "appends", "restart", "signatures", "counts", "slow", "tls"]
# Those that need every proxy at work; the others start what they measure themselves.
TOGETHER = ["requests", "handshakes", "latency"]


def main():
    args = arguments()
    end_cleanly()
    work = pathlib.Path(tempfile.mkdtemp(prefix="byline-bench-", dir=args.directory))
    began = time.monotonic()
    stage = Stage(work)
    try:
        say(f"load {os.getloadavg()[0]:.1f}; {'pinned' if PROXY_CPU is not None else 'one CPU: not pinned'}")
        found = measure(stage, args)
        say(f"{time.monotonic() - began:.0f} s in all")
    except (Invalid, TimeoutError) as why:
        print(f"not valid: {why}", file=sys.stderr)
        return 2
    finally:
        stage.end()
        shutil.rmtree(work, ignore_errors=True)
    missed = found.pop("missed", [])
    for what, figure, goal, floor, verdict in goals.reached(found):
        say(f"{verdict:20} {what}: {tables.number(figure)} (goal {tables.number(goal)}, floor {tables.number(floor)})")
        missed += [f"{what}: {tables.number(figure)}"] if args.floors and verdict == "worse than the floor" else []
    if args.json:
        # What was measured before stays, so that the parts can be measured one by one.
        found = (json.loads(args.json.read_text()) if args.json.exists() else {}) | found
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    if args.docs:
        tables.write(args.docs, found)
    for what in missed:
        print(f"missed: {what}", file=sys.stderr)
    return 1 if missed else 0


def measure(stage, args):
    found = {"machine": tables.machine()}
    if any(name in args.only for name in TOGETHER):
        found |= measure_together(stage, args)
    if "memory" in args.only:
        start = {"nginx": stage.nginx, "byline": lambda: stage.byline(args.binary, "byline-idle", memory.PATIENT)}
        if "haproxy" in args.against:
            start["haproxy"] = stage.haproxy
        if args.pingora and "pingora" in args.against:
            start["pingora"] = lambda: stage.pingora(args.pingora)
        found["memory"] = memory.measure(start, args.idle_protocols, args.idle, say, stage.work / "ca.pem")
    if "appends" in args.only:
        if not args.appends:
            raise Invalid("--appends: where is the example?")
        found["appends"] = appends.measure(args.appends, stage.work, args.seconds, say)
    if "restart" in args.only:
        if not args.million:
            raise Invalid("--million: where is the example?")
        found["restart"] = restart.measure(args.binary, args.million, stage.work, min(args.rounds, 5), say)
        found["missed"] = found.get("missed", []) + restart.missed(found["restart"])
    if "signatures" in args.only:
        if not args.signed:
            raise Invalid("--signed: where is the example?")
        found["signatures"] = signatures.measure(stage, args.binary, args.signed, args.rounds, args.seconds, say)
    if "counts" in args.only:
        found["counts"] = counts.measure(stage, args.binary, args.count_cases, say, args.functions)
    if "slow" in args.only or "tls" in args.only:
        byline = stage.byline(args.binary, "byline-tried")
        stage.check_bodies(byline)
        if "slow" in args.only:
            found["slow"] = slow_clients.measure(byline, stage.nginx(), stage, min(args.rounds, 3), 8, say)
            found["missed"] = found.get("missed", []) + slow_clients.missed(found["slow"])
        if "tls" in args.only:
            found["tls"] = tls_check.measure(byline, stage.work, say)
            found["missed"] = found.get("missed", []) + tls_check.missed(found["tls"])
        say(stage.check_ledger(byline))
    return found


def measure_together(stage, args):
    proxies = [stage.nginx()]
    if "haproxy" in args.against:
        proxies.append(stage.haproxy())
    if "pingora" in args.against and args.pingora:
        proxies.append(stage.pingora(args.pingora))
    bylines = [stage.byline(args.binary)]
    if args.before:
        bylines.append(stage.byline(args.before, "byline-before"))
    for proxy in proxies + bylines:
        stage.check_bodies(proxy)
    subjects = {name: subject for name, subject in cost.subjects(proxies[:1] + bylines + proxies[1:]).items()
                if name == "nginx" or name.removesuffix("-before") in args.against}
    found = {}
    if "requests" in args.only:
        found["requests"] = cost.measure(subjects, args.cases, args.rounds, args.seconds, say)
    if "handshakes" in args.only:
        found["handshakes"] = handshakes.measure(
            proxies[:1] + bylines + proxies[1:], args.rounds, args.seconds, say)
    if "latency" in args.only:
        found["latency"] = latency.measure(subjects, stage.work, args.rounds, args.latency_seconds, args.rate, say)
    for byline in bylines:
        say(stage.check_ledger(byline))
    return found


def arguments():
    def words(text):
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=os.path.abspath, help="the release build of byline")
    parser.add_argument("--before", type=os.path.abspath, help="another build of byline, to compare with")
    parser.add_argument("--pingora", type=os.path.abspath, help="the build of bench/pingora")
    parser.add_argument("--appends", type=os.path.abspath, help="the build of ledger/examples/sustained_appends.rs")
    parser.add_argument("--million", type=os.path.abspath, help="the build of billing/examples/million_entries.rs")
    parser.add_argument("--signed", type=os.path.abspath, help="the build of policy/examples/signed_requests.rs")
    parser.add_argument("--only", type=words, default=MEASUREMENTS, help="of: " + ",".join(MEASUREMENTS))
    parser.add_argument("--against", type=words, default=words("metered,passed,haproxy,pingora"),
                        help="what is set against nginx, of: metered,passed,haproxy,pingora")
    parser.add_argument("--cases", type=words, default=cost.CASES,
                        help="PROTOCOL:SIZE of h1, h1s (over TLS), h2 (over TLS), h2c and 1k, 10k, 100k")
    parser.add_argument("--rounds", type=int, default=7, help="pairs per case")
    parser.add_argument("--seconds", type=int, default=2, help="length of a run")
    parser.add_argument("--quick", action="store_true", help="one short round of h1:1k and h1:10k against nginx alone")
    parser.add_argument("--rate", type=int, default=8000, help="requests a second where latency is measured")
    parser.add_argument("--latency-seconds", type=int, default=10, help="length of a run at a fixed rate")
    parser.add_argument("--idle", type=lambda text: [int(word) for word in words(text)], default=memory.COUNTS,
                        help="numbers of idle connections")
    parser.add_argument("--idle-protocols", type=words, default=["h1", "h1s"], help="of h1 and h1s")
    parser.add_argument("--count-cases", type=words, default=counts.CASES, help="KIND:PROTOCOL:SIZE whose calls and instructions count")
    parser.add_argument("--functions", type=int, default=0, help="print so many functions with the most instructions")
    parser.add_argument("--floors", action="store_true", help="fail when a figure is worse than its floor (goals.py)")
    parser.add_argument("--json", type=pathlib.Path, help="add the figures to this file")
    parser.add_argument("--docs", type=pathlib.Path, help="write the tables into this page, between its markers")
    parser.add_argument("--directory", type=pathlib.Path, help="where the ledgers are written, instead of the temporary directory")
    args = parser.parse_args()
    if args.pingora and not os.path.exists(args.pingora):
        args.pingora = None
    if args.quick:
        args.only, args.against, args.cases = ["requests"], ["metered", "passed"], ["h1:1k", "h1:10k"]
        args.rounds, args.seconds = 3, 1
    return args


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
