"""The tables of docs/performance.md, written between its markers from what was measured.

    python3 bench/tables.py FIGURES.json docs/performance.md
"""

import json
import os
import pathlib
import platform
import re
import sys
import time

import goals

PROTOCOLS = {"h1": "h1", "h1s": "h1 over TLS", "h2": "h2 over TLS", "h2c": "h2 without TLS"}
KINDS = {"metered": "byline, metered", "passed": "byline, passed", "byline": "byline", "nginx": "nginx, JSON log",
         "haproxy": "HAProxy, JSON log", "pingora": "Pingora, JSON log"}


def machine():
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"day": time.strftime("%Y-%m-%d", time.gmtime()), "cpu": model.group(1) if model else platform.machine(),
            "cpus": os.cpu_count(), "kernel": platform.release(), "load": round(os.getloadavg()[0], 1)}


def write(page, found):
    """Replaces what stands between `<!-- figures: NAME -->` and `<!-- end -->` for everything that was measured."""
    text = page.read_text()
    for name, render in RENDER.items():
        if name == "goals":
            lines = render(found)
        elif name in found:
            lines = render(found[name])
        else:
            continue
        table = "\n".join(lines)
        text, times = re.subn(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)",
                              lambda match: f"{match.group(1)}\n{table}\n\n{match.group(2)}", text, flags=re.S)
        if times != 1:
            raise SystemExit(f"{page} has {times} places for the figures of {name}")
    page.write_text(text)


def request(case):
    protocol, size = case.split(":")
    return f"{PROTOCOLS[protocol]}, {size.replace('k', ' KB')}"


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def ratio(figure):
    return f"{figure['ratio']:.2f} ({figure['low']:.2f}–{figure['high']:.2f})"


def figures_machine(found):
    yield (f"{found['day']}: {found['cpus']} virtual CPUs ({found['cpu']}), Linux {found['kernel']}, "
           f"load average {found['load']} at the start.")
    if found["load"] > 2:
        yield ("**Other work kept the machine busy: the proxies were not saturated, ratios are too high, and whatever depends on the "
               "clock (latency, ledger entries a second) is much worse than it is on an idle one.**")


def figures_requests(found):
    first, *names = found["subjects"]
    yield f"{found['rounds']} rounds of {found['seconds']} s."
    yield ""
    rows = []
    for row in found["rows"]:
        of = row["figures"]
        rows.append([request(row["case"]), f"{of[first]['micros']:.1f}"]
                    + [f"{of[name]['micros']:.1f} · **{of[name]['ratio']:.2f}** ({of[name]['low']:.2f}–{of[name]['high']:.2f})"
                       for name in names])
    yield from table(["", KINDS[first]] + [KINDS.get(name, name) for name in names], rows)
    yield ""
    yield "Share of its CPU that each proxy used (below 0.8 it was not the bottleneck and pays for more wake-ups):"
    yield ""
    yield from table(["", KINDS[first]] + [KINDS.get(name, name) for name in names],
                     [[request(row["case"])] + [f"{row['figures'][name]['busy']:.2f}" for name in found["subjects"]]
                      for row in found["rows"]])


def figures_handshakes(found):
    yield from table(["", "CPU µs", "ratio to nginx"],
                     [[KINDS.get(name, name), f"{f['micros']:.0f}", ratio(f)] for name, f in found.items()])


def figures_latency(found):
    yield f"{found['rate']:,} requests a second, {request(found['case'])}; ms, and in brackets the ratio to nginx."
    yield ""
    labels = ["p50", "p99", "p99.9"]
    yield from table([""] + labels, [
        [KINDS.get(name, name)] + [f"{f[label]:.2f} ({f[label + ' ratio']:.2f})" for label in labels]
        for name, f in found["figures"].items()])


def figures_memory(found):
    counts = list(next(iter(next(iter(found.values())).values()))["rss"])
    yield from table(["MiB resident"] + [f"{int(count):,} idle" for count in counts] + ["KiB for each"], [
        [f"{KINDS.get(name, name)}, {PROTOCOLS[protocol]}"]
        + [f"{f['rss'][count] / 1024:.1f}" for count in counts] + [f"{f['each']:.1f}"]
        for protocol, of in found.items() for name, f in of.items()])


def figures_appends(found):
    yield from table(["callers", "entries of", "durable entries/s", "CPU µs each", "p50", "p99"], [
        [f"{row['callers']:,}", f"{row['bytes']} bytes", f"{row['per_second']:,.0f}", f"{row['cpu_micros']:.1f}",
         f"{row['p50_micros'] / 1000:.2f} ms", f"{row['p99_micros'] / 1000:.2f} ms"] for row in found])


def figures_restart(found):
    yield from table([f"start to the first answer, {found['entries']:,} entries", "median", f"slowest of {found['rounds']}",
                      "CPU", "entries read again"], [
        [f"after {row['after'].replace('kill -9', '`kill -9`')}", f"{row['median']:.2f} s", f"{row['slowest']:.2f} s",
         f"{row['cpu']:.2f} s", f"{row['read_again']:,}"] for row in found["rows"]])


def figures_counts(found):
    rows = []
    for case, row in found.items():
        kind, of = case.split(":", 1)
        rows.append([f"{kind}, {request(of)}", f"{row['calls']:.2f}", f"{row['instructions']:,.0f}",
                     ", ".join(f"{name} {each:.2f}" for name, each in row["by name"].items() if each >= 0.05)])
    yield from table(["per request", "system calls", "instructions", "which calls"], rows)


def figures_slow(found):
    yield from table(["500 connections with", "others of", "p50, ms", "undisturbed", "p99, ms", "undisturbed", "ratio of p99"], [
        [name, proxy, f"{row['p50']:.2f}", f"{row['calm p50']:.2f}", f"{row['p99']:.2f}", f"{row['calm p99']:.2f}", f"{row['ratio']:.2f}"]
        for name, rows in found.items() for proxy, row in rows.items()])


def figures_tls(found):
    yield f"{found['count']} findings; those worse than OK or INFO:"
    yield ""
    yield from table(["finding", "severity", "what testssl says", "whose it is"], [
        [row["id"], row["severity"], row["finding"].replace("|", ",")[:80], row["allowed"] or "byline's"] for row in found["worse"]])


def figures_soak(found):
    yield (f"{found['minutes']:g} minutes with {', '.join(f'{count:,} {what}' for what, count in found['counts'].items())}; "
           f"{found['failures']} failures.")
    yield ""
    names = {"rss_kib": "KiB resident", "descriptors": "descriptors but for those to the origin",
             "to_origin": "connections to the origin, idle ones included"}
    yield from table(["", "at the start", "half-way", "at the end", "slope per minute, second half"], [
        [names.get(what, what), f"{row['first']:,}", f"{row['half']:,}", f"{row['last']:,}",
         "bounded" if row["slope"] is None else f"{row['slope']:+.2f}"]
        for what, row in found["rows"].items()])


def figures_signatures(rows):
    yield from table(["", "unsigned", "verified before", "÷ unsigned", "verified afresh", "more than unsigned", "Ed25519 in place",
                      "more ÷ in place", "Ed25519 in a loop", "more ÷ in a loop"], [
        [row["size"].replace("k", " KB"), f"{row['unsigned']:.1f}", f"{row['verified before']:.1f}",
         f"{row['before / unsigned']:.2f}", f"{row['verified afresh']:.1f}", f"{row['verified afresh'] - row['unsigned']:.1f}",
         f"{row['in place']:.1f}", f"{row['afresh, more / in place']:.2f}", f"{row['bare']:.1f}",
         f"{row['afresh, more / bare']:.2f}"] for row in rows])


def figures_goals(found):
    yield from table(["", "measured", "goal", "floor", ""], [
        [what, number(figure), number(goal), number(floor), verdict]
        for what, figure, goal, floor, verdict in goals.reached(found)])


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


RENDER = {name.removeprefix("figures_"): function for name, function in list(globals().items())
          if name.startswith("figures_")}

if __name__ == "__main__":
    write(pathlib.Path(sys.argv[2]), json.loads(pathlib.Path(sys.argv[1]).read_text()))
