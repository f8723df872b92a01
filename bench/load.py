"""Load generators: wrk and h2load as fast as it goes, h2load at a fixed rate, openssl for handshakes.

Each counts its own failures, and one failure makes the measurement void.
"""

import math
import re
import subprocess
import time

from programs import LOAD_CPU, SIZES, Invalid, tool

H1_CONNECTIONS = 64
H2_CONNECTIONS, H2_STREAMS = 16, 4


def run(argv, patience):
    if LOAD_CPU is not None:
        argv = [tool("taskset"), "-c", LOAD_CPU, *argv]
    said = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=patience)
    if said.returncode:
        raise Invalid(f"{argv} failed: {said.stderr}{said.stdout}")
    return said.stdout


def full_speed(proxy, protocol, size, agent, seconds):
    """As many requests as it takes: (answers, seconds)."""
    began = time.monotonic()
    if protocol in ("h2", "h2c"):
        good = h2load(proxy, protocol, size, agent, f"-D{seconds}", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}",
                      patience=seconds * 5 + 60)
    else:
        good = wrk(proxy, protocol, size, agent, seconds)
    if not good:
        raise Invalid(f"{proxy.name} {protocol} {size}: not one answer")
    return good, time.monotonic() - began


def wrk(proxy, protocol, size, agent, seconds, *more):
    said = run([tool("wrk"), "-t1", f"-c{H1_CONNECTIONS}", f"-d{seconds}s", "-H", f"User-Agent: {agent}",
                "-H", "Host: localhost", *more, proxy.url(protocol, size)], seconds * 5 + 60)
    good = int(re.search(r"(\d+) requests in", said).group(1))
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    failed = (sum(map(int, errors.groups())) if errors else 0) + (int(other.group(1)) if other else 0)
    amount = re.search(r"requests in [^,]+, ([\d.]+)([KMG]?B) read", said)
    read = float(amount.group(1)) * {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[amount.group(2)]
    if failed:
        raise Invalid(f"{proxy.name} {protocol} {size}: {failed} requests failed\n{said}")
    if read < 0.98 * good * SIZES[size]:
        raise Invalid(f"{proxy.name} {protocol} {size}: {read:.0f} bytes for {good} answers of {SIZES[size]}")
    return good


def h2load(proxy, protocol, size, agent, *options, patience):
    h1 = ["--h1"] if protocol in ("h1", "h1s") else []
    said = run([tool("h2load"), *h1, "-t1", *options, "-H", f"user-agent: {agent}", proxy.url(protocol, size)], patience)
    counts = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored",
                       said)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
    failed = int(counts.group(5)) + int(counts.group(6)) + sum(int(codes.group(n)) for n in (2, 3, 4))
    if failed:
        raise Invalid(f"{proxy.name} {protocol} {size}: {failed} requests failed\n{said}")
    good, read = int(counts.group(4)), int(re.search(r"\((\d+)\) data", said).group(1))
    if read < good * SIZES[size]:
        raise Invalid(f"{proxy.name} {protocol} {size}: {read} bytes for {good} answers of {SIZES[size]}")
    return good


def requests(proxy, protocol, size, agent, count, connections):
    """Exactly so many requests."""
    good = h2load(proxy, protocol, size, agent, f"-n{count}", f"-c{connections}", patience=600)
    if good != count:
        raise Invalid(f"{proxy.name} {protocol} {size}: {good} answers for {count} requests")


def fixed_rate(proxy, protocol, size, agent, seconds, rate, log, clients=32):
    """At a fixed rate: (answers, the latency of each in ms, sorted)."""
    log.unlink(missing_ok=True)
    h2load(proxy, protocol, size, agent, f"-c{clients}", f"--rps={rate / clients:g}", f"-D{seconds}",
           f"--log-file={log}", patience=seconds * 5 + 60)
    # One line per request: when it began, its status, how long it took, both in microseconds.
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    if any(line[1] != "200" for line in lines):
        raise Invalid(f"{proxy.name}: answers other than 200 at a fixed rate")
    if len(lines) < 0.95 * rate * seconds:
        raise Invalid(f"{proxy.name}: {len(lines) / seconds:.0f} requests a second where {rate} were wanted")
    return sorted(int(line[2]) / 1000 for line in lines)


def percentile(ordered, share):
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def handshakes(proxy, size, agent, seconds, clients=4):
    """Full TLS handshakes, each with one request and a close: how many there were."""
    # The tool sends `GET path HTTP/1.0` and two line ends: the path brings the rest of a request's head along.
    head = f"/{size} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\nConnection: close\r\nX-Rest:"
    argv = [tool("openssl"), "s_time", "-connect", f"localhost:{proxy.tls}", "-new", "-time", seconds, "-www", head]
    if LOAD_CPU is not None:
        argv = [tool("taskset"), "-c", LOAD_CPU, *argv]
    children = [subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                for _ in range(clients)]
    total = 0
    for child in children:
        said = child.communicate(timeout=seconds * 5 + 30)[0]
        found = re.search(r"(\d+) connections in \d+ real seconds, (\d+) bytes read per connection", said)
        if child.returncode or not found:
            raise Invalid(f"{proxy.name}: handshakes failed: {said[-500:]}")
        # A letter for each connection: r would be a resumed one.
        letters = said.split("seconds\n", 1)[-1].split("\n", 1)[0]
        if "r" in letters:
            raise Invalid(f"{proxy.name}: sessions were resumed where full handshakes are measured")
        if int(found.group(2)) < SIZES[size]:
            raise Invalid(f"{proxy.name}: {found.group(2)} bytes per handshake, where a body of {SIZES[size]} was asked for")
        total += int(found.group(1))
    return total
