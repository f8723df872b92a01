#!/usr/bin/env python3
"""The acceptance run: byline between real programs that know nothing of it.

Debian's nginx serves a documentation package; Scrapy, wget and curl crawl it through byline under the names of AI
crawlers; headless Chromium browses it; Prometheus scrapes. Then the books are compared with nginx's own access log.
`--small` does the same with fewer pages, in a few minutes.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import browser
import crawls
import parts
import watch

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ["index.html", "sql-select.html", "tutorial-sql.html", "no-such-page.html"]


class Checks:
    """Counts what holds and what does not."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def that(self, what, holds, why=""):
        if holds:
            self.passed += 1
            print(f"ok    {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {what}: {str(why)[:3000]}", flush=True)

    @contextlib.contextmanager
    def part(self, name):
        """A part that breaks is one failure, and the others still run."""
        began = time.monotonic()
        try:
            yield
        except Exception:
            self.that(name, False, traceback.format_exc())
        print(f"      {name}: {time.monotonic() - began:.1f} s", flush=True)


def of_nginx(lines):
    """Fetches and bytes per crawler as nginx saw them."""
    totals = collections.defaultdict(lambda: [0, 0])
    for line in lines:
        for crawler in parts.CRAWLERS:
            if crawler.agent == line["user_agent"]:
                totals[crawler.token][0] += 1
                totals[crawler.token][1] += line["body_bytes_sent"]
    return {token: tuple(total) for token, total in totals.items()}


def of_lines(lines):
    """Fetches and bytes per crawler on statement lines."""
    totals = collections.defaultdict(lambda: [0, 0])
    for line in lines:
        totals[line["crawler"]][0] += line["fetches"]
        totals[line["crawler"]][1] += line["bytes"]
    return {token: tuple(total) for token, total in totals.items()}


def crawl(checks, work, byline, nginx, pages, small):
    for name, crawler in [
        ("curl", lambda: crawls.curl(work, byline.url, pages, small)),
        ("Scrapy", lambda: crawls.scrapy(work, byline.url, small)),
        ("wget --mirror", lambda: crawls.wget(work, byline.url, small)),
    ]:
        with checks.part(name):
            crawler()
    seen = of_nginx(nginx.lines())
    for crawler in parts.CRAWLERS:
        checks.that(f"{crawler.token} crawled", seen.get(crawler.token, (0, 0))[0] >= 100, seen)


def compare_mirror(checks, work, root):
    with checks.part("the mirror"):
        room = next((work / "mirror").iterdir())
        copies = [p for p in room.rglob("*") if p.is_file() and (root / p.relative_to(room)).is_file()]
        wrong = [p.name for p in copies if p.read_bytes() != (root / p.relative_to(room)).read_bytes()]
        checks.that(f"{len(copies)} mirrored pages are the site's, byte for byte", len(copies) > 50 and not wrong, wrong)


def compare_books(checks, byline, nginx):
    with checks.part("statement and access log"):
        # nginx writes its line when the answer is out; byline has its record by then.
        statement, seen = byline.statement(), of_nginx(nginx.lines())
        billed = of_lines(statement["lines"])
        checks.that("fetches and bytes per crawler equal those in nginx's log", billed == seen, f"{billed} {seen}")
        for token, (fetches, size) in sorted(seen.items()):
            print(f"      {token:20} {fetches:7} fetches {size:12} bytes")
        said = byline.run("verify", byline.ledger())
        checks.that("the ledger verifies", said.returncode == 0, said.stdout + said.stderr)
        said = byline.run("books", "rebuild", "--state", byline.work / "state")
        checks.that("books are rebuilt", said.returncode == 0, said.stderr)
        checks.that("a statement from rebuilt books is the same", byline.statement() == statement)
        return statement


def replay(byline, *arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = byline.run("replay", "--policy", byline.work / "policy.toml", "--format", "json", *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if said.returncode:
        raise RuntimeError(f"replay: {said.stderr[-2000:]}")
    return json.loads(said.stdout), cpu


def compare_replay(checks, byline, nginx, statement, small):
    for name, log in (("JSON", nginx.seen), ("combined", nginx.combined)):
        with checks.part(f"replay of the {name} log"):
            report, _ = replay(byline, "--access-log", log)
            judged = report["policy"]
            ours, live = of_lines(judged["lines"]), of_lines(statement["lines"])
            checks.that(f"replay of the {name} log counts as the live run did", ours == live, f"{ours} {live}")
            same = judged["total"] == statement["total"]
            checks.that(f"replay of the {name} log earns the same", same, f"{judged['total']} {statement['total']}")
    with checks.part("replay speed"):
        lines, wanted = nginx.combined.read_bytes(), 300_000 if small else 5_000_000
        count = lines.count(b"\n")
        long = byline.work / "long.log"
        with open(long, "wb") as out:
            for _ in range(wanted // count + 1):
                out.write(lines)
        total = count * (wanted // count + 1)
        _, cpu = replay(byline, "--access-log", long)
        speed = total / cpu
        print(f"      {total} lines in {cpu:.2f} CPU seconds: {speed:.0f} lines per CPU second")
        # A small run has little to divide by: its start counts as well.
        checks.that("at least 300,000 lines per CPU second", speed >= (100_000 if small else 300_000), speed)
        long.unlink()


def compare_browser(checks, byline, nginx, small):
    with checks.part("Chromium"):
        (port,) = parts.free_ports(1)
        pages = PAGES[:2] + PAGES[3:] if small else PAGES
        (dom_a, direct), (dom_b, through) = browser.browse(port, nginx.port, byline.listen, pages)
        checks.that("Chromium saw the pages and what they need", len(direct) > len(pages), sorted(direct))
        found = browser.differences(direct, through)
        checks.that(f"{len(direct)} answers to Chromium are the same through byline", not found, "\n".join(found))
        checks.that("Chromium understood the same documents", dom_a == dom_b)


def compare_metrics(checks, work, byline, statement):
    prometheus = None
    try:
        with checks.part("Prometheus"):
            prometheus = watch.Prometheus(work, byline.admin)
            checks.that("Prometheus scrapes byline", prometheus.scraped())
            fetches = sum(line["fetches"] for line in statement["lines"])
            counted = prometheus.wait_for("sum(byline_fetches_total)", float(fetches))
            checks.that(f"Prometheus counts the {fetches} fetches of the statement", counted)
        with checks.part("promtool"):
            said = watch.promtool_metrics(byline)
            checks.that("promtool finds nothing in the metrics", said.returncode == 0 and not said.stderr, said.stderr)
            rules = sorted((ROOT / "deploy/prometheus").glob("*.y*ml"))
            rules = [file for file in rules if "groups:" in file.read_text()]
            if rules:
                said = watch.promtool_rules(rules)
                checks.that("promtool finds nothing in the rules", said.returncode == 0, said.stdout + said.stderr)
        with checks.part("strangers"):
            seed = random.randrange(1 << 32)
            watch.strangers(byline.listen, 500, seed)
            before = byline.series()
            watch.strangers(byline.listen, 10_000, seed + 1)
            new = byline.series() - before
            checks.that(f"10,000 strangers (seed {seed}) leave {len(before)} series as they were", not new, new)
    finally:
        if prometheus:
            prometheus.stop()


def start_with_history(checks, work, binary, nginx, small):
    with checks.part("start with history"):
        room = work / "history"
        room.mkdir()
        entries = 50_000 if small else 1_000_000
        byline = parts.Byline(room, binary, nginx.port)
        try:
            script = room / "crawl.lua"
            script.write_text(f'wrk.headers["User-Agent"] = "{parts.GPT.agent}"\n')
            # wrk has one address, 127.0.0.1; the policy knows GPTBot from another, so let this one be its own.
            text = parts.policy().replace(f"{parts.GPT.address}/32", "127.0.0.1/32")
            (room / "policy.toml").write_text(text)
            byline.stop()
            byline.start()
            count = 0
            while count < entries:
                said = subprocess.run(
                    [parts.tool("wrk"), "-t1", "-c32", "-d5s", "-s", script, byline.url + "/stylesheet.css"],
                    capture_output=True, text=True, check=True,
                )
                if "Non-2xx" in said.stdout:
                    raise RuntimeError(said.stdout)
                count += int(said.stdout.split(" requests in")[0].split()[-1])
            for name, stop in (("after a clean stop", byline.stop), ("after kill -9", lambda: byline.child.kill())):
                stop()
                byline.child.wait()
                took = byline.start()
                print(f"      first answer {took * 1000:.0f} ms {name} with {count} entries")
                checks.that(f"first answer within 1 s {name}", took < 1, took)
        finally:
            byline.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=os.path.abspath, help="the release build of byline")
    parser.add_argument("--small", action="store_true", help="fewer pages and lines")
    parser.add_argument("--keep", action="store_true", help="leave the working directory for a look")
    args = parser.parse_args()
    checks, began = Checks(), time.monotonic()
    cache = ROOT / "target" / "acceptance"
    root, pages = parts.unpack_site(cache)
    print(f"{len(pages)} pages of {root}", flush=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="byline-acceptance-"))
    running = []
    try:
        nginx = parts.Nginx(work, root)
        running.append(nginx)
        byline = parts.Byline(work, args.binary, nginx.port)
        running.append(byline)
        crawl(checks, work, byline, nginx, pages, args.small)
        compare_mirror(checks, work, root)
        statement = compare_books(checks, byline, nginx)
        if statement:
            compare_metrics(checks, work, byline, statement)
            compare_replay(checks, byline, nginx, statement, args.small)
        compare_browser(checks, byline, nginx, args.small)
        start_with_history(checks, work, args.binary, nginx, args.small)
        checks.that("byline ends in good order", byline.stop() == 0, byline.said.read_text(errors="replace")[-2000:])
    except Exception:
        checks.that("the run", False, traceback.format_exc())
    finally:
        for process in reversed(running):
            process.stop()
        if args.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{time.monotonic() - began:.0f} s")
    print(f"acceptance: {checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
