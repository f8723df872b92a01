"""CPU time of a full TLS handshake, with one 1 KB request and the close: new connections, no session resumed."""

import statistics

import load
from programs import PERSON, settle


def measure(proxies, rounds, seconds, say):
    for proxy in proxies:
        load.handshakes(proxy, "1k", PERSON, 1)
    runs = []
    for number in range(rounds):
        got = {}
        for proxy in proxies[::-1] if number % 2 else proxies:
            before = proxy.process.cpu_seconds()
            count = load.handshakes(proxy, "1k", PERSON, seconds)
            settle()
            got[proxy.name] = proxy.process.cpu_since(before) / count * 1e6
        runs.append(got)
    figures = {}
    say("CPU µs per full TLS handshake with a request")
    for proxy in proxies:
        ratios = [run[proxy.name] / run[proxies[0].name] for run in runs]
        micros = statistics.median(run[proxy.name] for run in runs)
        figures[proxy.name] = {"micros": micros, "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
        say(f"  {proxy.name:10} {micros:7.0f} {statistics.median(ratios):5.2f} ({min(ratios):.2f}..{max(ratios):.2f})")
    return figures
