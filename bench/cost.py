"""CPU time per request: the proxies take turns under full load, and each round's figures are set against nginx's.

A slow minute of the machine hits all of them, and what is compared is the CPU time that the kernel charged to a proxy's
process: user and system, loopback TCP work included. Wall time is shown too, but on a shared machine it says little.
"""

import statistics

import load
from programs import CRAWLER, PERSON, settle

CASES = [f"{protocol}:{size}" for protocol in ("h1", "h1s", "h2") for size in ("1k", "10k", "100k")]


def once(proxy, protocol, size, agent, seconds):
    before = proxy.process.cpu_seconds()
    count, wall = load.full_speed(proxy, protocol, size, agent, seconds)
    settle()
    cpu = proxy.process.cpu_since(before)
    if agent is CRAWLER:
        proxy.metered += count
    return {"micros": cpu / count * 1e6, "per_second": count / wall, "busy": cpu / wall}


def measure(subjects, cases, rounds, seconds, say):
    """`subjects`: name → (proxy, user agent); the first is what the others are set against."""
    names = list(subjects)
    rows = []
    say(f"{'CPU µs per request':13} " + f"{names[0]:>9}  busy " + " ".join(f"{n:>9} ratio (min..max)   busy" for n in names[1:]))
    for case in cases:
        protocol, size = case.split(":")
        for proxy, agent in subjects.values():
            once(proxy, protocol, size, agent, 1)
        runs = []
        for number in range(rounds):
            # Each round begins with another one, and every second round goes backwards.
            order = names[number % len(names):] + names[:number % len(names)]
            order = order[::-1] if number % 2 else order
            got = {name: once(subjects[name][0], protocol, size, subjects[name][1], seconds) for name in order}
            runs.append(got)
        row = {"case": case, "figures": {}}
        for name in names:
            figure = {key: statistics.median(run[name][key] for run in runs) for key in ("micros", "per_second", "busy")}
            ratios = [run[name]["micros"] / run[names[0]]["micros"] for run in runs]
            figure |= {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
            row["figures"][name] = figure
        rows.append(row)
        base = row["figures"][names[0]]
        say(f"{case:18} {base['micros']:9.1f}  {base['busy']:.2f} " + " ".join(
            f"{f['micros']:9.1f} {f['ratio']:5.2f} ({f['low']:.2f}..{f['high']:.2f}) {f['busy']:5.2f}"
            for f in (row["figures"][name] for name in names[1:])))
    return {"rounds": rounds, "seconds": seconds, "subjects": names, "rows": rows}


def subjects(proxies):
    """A person's request through each, and a crawler's through byline, which is what is metered."""
    found = {}
    for proxy in proxies:
        if proxy.name.startswith("byline"):
            other = proxy.name.removeprefix("byline")
            found["metered" + other] = (proxy, CRAWLER)
            found["passed" + other] = (proxy, PERSON)
        else:
            found[proxy.name] = (proxy, PERSON)
    return found
