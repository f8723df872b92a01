"""What byline wants to reach, and what it must not fall behind, set against what was measured."""


def ratio(kind, case):
    def find(found):
        return next(row["figures"][kind]["ratio"] for row in found["requests"]["rows"] if row["case"] == case)

    return find


# What, where it is found, the goal, the floor. Smaller is better.
GOALS = [
    ("metered, h1, 1 KB: CPU / nginx", ratio("metered", "h1:1k"), 1.00, 1.50),
    ("metered, h1, 10 KB: CPU / nginx", ratio("metered", "h1:10k"), 1.25, 1.70),
    ("metered, h1, 100 KB: CPU / nginx", ratio("metered", "h1:100k"), 1.30, 1.75),
    ("metered, h1 over TLS, 10 KB: CPU / nginx", ratio("metered", "h1s:10k"), 0.95, 1.25),
    ("metered, h2 over TLS, 10 KB: CPU / nginx", ratio("metered", "h2:10k"), 0.90, 1.20),
    ("passed, h1, 10 KB: CPU / nginx", ratio("passed", "h1:10k"), 0.95, 1.20),
    ("passed, h1 over TLS, 10 KB: CPU / nginx", ratio("passed", "h1s:10k"), 0.65, 1.20),
    ("passed, h2 over TLS, 10 KB: CPU / nginx", ratio("passed", "h2:10k"), 0.65, 1.20),
    ("full TLS handshake: CPU / nginx", lambda found: found["handshakes"]["byline"]["ratio"], 0.55, 0.80),
    ("metered, h1, 10 KB at a fixed rate: p99 / nginx", lambda found: found["latency"]["figures"]["metered"]["p99 ratio"], 0.6, 1.3),
    ("KiB for an idle connection, h1", lambda found: found["memory"]["h1"]["byline"]["each"], 12, 32),
    ("MiB for 10,000 idle connections, h1", lambda found: found["memory"]["h1"]["byline"]["each"] * 10_000 / 1024, 190, 190),
    ("signed and verified before, 1 KB: CPU / unsigned", lambda found: found["signatures"][0]["before / unsigned"], 1.05, 1.05),
    ("signed and verified afresh, 1 KB: CPU more / bare verification in place", lambda found: found["signatures"][0]["afresh, more / in place"], 1.2, 1.2),
    ("signed and verified afresh, 1 KB: CPU more / bare verification in a loop", lambda found: found["signatures"][0]["afresh, more / bare"], 1.2, 1.2),
    ("system calls, metered, h1, 1 KB", lambda found: found["counts"]["metered:h1:1k"]["calls"], 4.6, 6),
    ("instructions, metered, h1, 1 KB, without SHA-256", lambda found: found["counts"]["metered:h1:1k"]["instructions"], 42_000, 60_000),
]
APPENDS = 100_000


def reached(found):
    """(what, figure, goal, floor, verdict) of every goal that was measured."""
    rows = []
    for what, find, goal, floor in GOALS:
        try:
            figure = find(found)
        except (KeyError, StopIteration):
            continue
        verdict = "reached" if figure <= goal else "not reached" if figure <= floor else "worse than the floor"
        rows.append((what, figure, goal, floor, verdict))
    if "appends" in found:
        most = max(row["per_second"] for row in found["appends"])
        rows.append(("durable ledger entries a second (at least)", most, APPENDS, APPENDS,
                     "reached" if most >= APPENDS else "worse than the floor"))
    return rows
