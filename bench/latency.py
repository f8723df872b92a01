"""Latency at a fixed rate, far below what any of the proxies can do: what a visitor waits for."""

import statistics

import load
from programs import CRAWLER, settle

SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def measure(subjects, work, rounds, seconds, rate, say, case="h1:10k"):
    protocol, size = case.split(":")
    names = list(subjects)
    log = work / "latency.log"
    for proxy, agent in subjects.values():
        run(proxy, protocol, size, agent, 1, rate, log)
    runs = []
    for number in range(rounds):
        got = {}
        for name in names[::-1] if number % 2 else names:
            got[name] = run(subjects[name][0], protocol, size, subjects[name][1], seconds, rate, log)
        runs.append(got)
    figures = {}
    say(f"latency in ms at {rate} requests a second, {case}")
    for name in names:
        figure = {}
        for label in SHARES:
            figure[label] = statistics.median(r[name][label] for r in runs)
            figure[label + " ratio"] = statistics.median(r[name][label] / r[names[0]][label] for r in runs)
        figures[name] = figure
        say(f"  {name:10} " + "  ".join(f"{label} {figure[label]:7.2f} ({figure[label + ' ratio']:.2f})" for label in SHARES))
    return {"rate": rate, "case": case, "figures": figures}


def run(proxy, protocol, size, agent, seconds, rate, log):
    took = load.fixed_rate(proxy, protocol, size, agent, seconds, rate, log)
    settle()
    if agent is CRAWLER:
        proxy.metered += len(took)
    return {label: load.percentile(took, share) for label, share in SHARES.items()}
