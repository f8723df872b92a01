"""What other clients notice of slowhttptest: 500 connections with slow heads, slow bodies or slow reading.

Undisturbed and disturbed runs at a fixed rate take turns. The bar: a disturbed p99 within twice the undisturbed one.
"""

import statistics
import subprocess
import time

import load
from programs import LOAD_CPU, PERSON, Invalid, tool

CONNECTIONS = 500
RATE = 500
BAR = 2
# The body that is read slowly is large, but 500 of it fit below the mark where the kernel saves on TCP memory.
ATTACKS = {
    "slow heads": ("/1k", ["-H", "-i", "5"]),
    "slow bodies": ("/form", ["-B", "-i", "5", "-s", "8192"]),
    "slow reading": ("/film", ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"]),
}


def measure(byline, work, rounds, seconds, say):
    log = work / "slow.log"

    def p50_and_p99():
        took = load.fixed_rate(byline, "h1", "10k", PERSON, seconds, RATE, log, clients=16)
        return load.percentile(took, 0.5), load.percentile(took, 0.99)

    p50_and_p99()
    found = {}
    say(f"others' latency in ms at {RATE} requests a second while slowhttptest holds {CONNECTIONS} connections")
    for name, (path, options) in ATTACKS.items():
        calm, disturbed, held = [], [], []
        for _ in range(rounds):
            calm.append(p50_and_p99())
            attacker = attack(byline, path, options)
            try:
                wait_for_connections(byline.plain, name)
                time.sleep(3)
                disturbed.append(p50_and_p99())
                held.append(connections_to(byline.plain))
            finally:
                attacker.terminate()
                attacker.wait(30)
            wait_for_calm(byline.plain)
        p50, p99 = (statistics.median(run[n] for run in disturbed) for n in (0, 1))
        calm_p50, calm_p99 = (statistics.median(run[n] for run in calm) for n in (0, 1))
        found[name] = {"p50": p50, "p99": p99, "calm p50": calm_p50, "calm p99": calm_p99, "ratio": p99 / calm_p99,
                       "held": min(held)}
        say(f"  {name:13} p50 {p50:6.2f} (undisturbed {calm_p50:6.2f})  p99 {p99:6.2f} ({calm_p99:6.2f})  ratio {p99 / calm_p99:.2f}  "
            f"(at least {min(held)} connections to the end)")
    return found


def missed(found):
    return [f"{name}: others' p99 is {f['ratio']:.2f} times the undisturbed one" for name, f in found.items() if f["ratio"] > BAR]


def attack(byline, path, options):
    # Nice, because it shares its CPU with the clients whose latency is measured.
    argv = ["nice", "-n", 19, tool("slowhttptest"), "-c", CONNECTIONS, "-r", CONNECTIONS // 2, "-l", 120, "-p", 5, *options,
            "-u", f"http://127.0.0.1:{byline.plain}{path}"]
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
