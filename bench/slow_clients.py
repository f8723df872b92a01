"""What other clients notice of slowhttptest: 500 connections with slow heads, slow bodies or slow reading.

Undisturbed and disturbed runs at a fixed rate take turns. The bar: a disturbed p99 within twice the undisturbed one.

slowhttptest shares a CPU with the clients whose latency is measured and with the origin. A kernel that does not preempt lets
it go on until the next tick, for up to 4 ms; so the clients and the origin run in real time here, and what is left is the proxy's part.
"""

import contextlib
import os
import subprocess
import time

import load
from programs import LOAD_CPU, PERSON, Invalid, tool

CONNECTIONS = 500
RATE = 1000
BAR = 2
# The body that is read slowly is large, but 500 of it fit below the mark where the kernel saves on TCP memory.
ATTACKS = {
    "slow heads": ("/1k", ["-H", "-i", "5"]),
    "slow bodies": ("/form", ["-B", "-i", "5", "-s", "8192"]),
    "slow reading": ("/film", ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"]),
}


def measure(byline, reference, stage, rounds, seconds, say):
    with in_real_time(0, stage.origin_process.child.pid, say=say):
        return in_turns(byline, reference, stage.work / "slow.log", rounds, seconds, say)


@contextlib.contextmanager
def in_real_time(*pids, say):
    """For these processes (0: this one) and what they start."""
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        say("not allowed to run in real time (needs CAP_SYS_NICE): figures include slowhttptest's turns on the clients' CPU")
    try:
        yield
    finally:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def in_turns(byline, reference, log, rounds, seconds, say):
    def latencies(proxy):
        return load.fixed_rate(proxy, "h1", "10k", PERSON, seconds, RATE, log, clients=16)

    for proxy in (byline, reference):
        latencies(proxy)
    found = {}
    say(f"others' latency in ms at {RATE} requests a second while slowhttptest holds {CONNECTIONS} connections")
    for name, (path, options) in ATTACKS.items():
        took = {proxy: {"calm": [], "disturbed": [], "held": []} for proxy in (byline, reference)}
        for number in range(rounds):
            for proxy in list(took)[::-1] if number % 2 else took:
                took[proxy]["calm"] += latencies(proxy)
                attacker = attack(proxy, path, options)
                try:
                    wait_for_connections(proxy.plain, name)
                    time.sleep(3)
                    took[proxy]["disturbed"] += latencies(proxy)
                    took[proxy]["held"].append(connections_to(proxy.plain))
                finally:
                    attacker.terminate()
                    attacker.wait(30)
                wait_for_calm(proxy.plain)
        found[name] = {"byline": figure(**took[byline]), "nginx": figure(**took[reference])}
        for proxy_name, f in found[name].items():
            say(f"  {name:13} {proxy_name:7} p50 {f['p50']:6.2f} (undisturbed {f['calm p50']:6.2f})  p99 {f['p99']:6.2f} "
                f"({f['calm p99']:6.2f})  ratio {f['ratio']:.2f}  (at least {f['held']} connections to the end)")
    return found


def figure(calm, disturbed, held):
    """Of all rounds together: one of them has too few slow answers for a steady p99."""
    calm, disturbed = sorted(calm), sorted(disturbed)
    p50, p99 = (load.percentile(disturbed, share) for share in (0.5, 0.99))
    calm_p50, calm_p99 = (load.percentile(calm, share) for share in (0.5, 0.99))
    return {"p50": p50, "p99": p99, "calm p50": calm_p50, "calm p99": calm_p99, "ratio": p99 / calm_p99, "held": min(held)}


def missed(found):
    return [f"{name}: others' p99 is {row['byline']['ratio']:.2f} times the undisturbed one"
            for name, row in found.items() if row["byline"]["ratio"] > BAR]


def attack(proxy, path, options):
    # It shares its CPU with the clients whose latency is measured, and must not take time that they could have used.
    argv = [tool("chrt"), "--idle", 0, tool("slowhttptest"), "-c", CONNECTIONS, "-r", CONNECTIONS // 2, "-l", 120, "-p", 5, *options,
            "-u", f"http://127.0.0.1:{proxy.plain}{path}"]
    if LOAD_CPU is not None:
        argv = [tool("taskset"), "-c", LOAD_CPU, *argv]
    return subprocess.Popen(list(map(str, argv)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def connections_to(port):
    """Established connections on the server's side of a port."""
    local, established = f":{port:04X}", "01"
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[1].endswith(local) and row[3] == established for row in rows)


def wait_for_connections(port, name):
    end = time.monotonic() + 20
    while connections_to(port) < CONNECTIONS * 0.9:
        if time.monotonic() > end:
            raise Invalid(f"{name}: slowhttptest has only {connections_to(port)} of {CONNECTIONS} connections")
        time.sleep(0.1)


def wait_for_calm(port):
    end = time.monotonic() + 20
    while connections_to(port) > 20 and time.monotonic() < end:
        time.sleep(0.1)
