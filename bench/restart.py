"""Time from the start of `byline serve` to its first answer on a ledger of a million entries.

After `kill -9` the ledger is in its worst state: the last segment is as full as it gets and has no saved state beside it, so
all of it is read again. Each round kills the process as soon as it has answered, and the next one finds the same ledger and
the few entries that a start writes. After a clean stop nothing is read again but what was saved: a million versions that
are paid for. The CPU time says what a start takes of a machine that has nothing else to do.
"""

import http.client
import json
import pathlib
import re
import signal
import subprocess
import time

from programs import TICKS, Invalid, free_ports

# A start must not take longer; seconds.
LIMIT = 1.0
PATIENCE = 60


def measure(binary, writer, directory, rounds, say):
    state = directory / "restart-state"
    said = subprocess.run([writer, state], capture_output=True, text=True)
    if said.returncode:
        raise Invalid(f"{writer} failed: {said.stderr}")
    written = json.loads(said.stdout)
    say(f"a ledger of {written['entries']:,} entries, {written['in_last_segment']:,} of them in its last segment; "
        f"a whole one has {written['in_whole_segment']:,}")
    found = {"entries": written["entries"], "rounds": rounds, "rows": []}
    for after, ending in [("kill -9", signal.SIGKILL), ("a clean stop", signal.SIGTERM)]:
        if ending == signal.SIGTERM:
            start(binary, state, ending)
        starts = sorted((start(binary, state, ending) for _ in range(rounds)), key=lambda one: one["seconds"])
        if any(one["clean"] != (ending == signal.SIGTERM) for one in starts):
            raise Invalid(f"the ledger was not found as {after} leaves it: {starts}")
        row = {"after": after, "median": starts[rounds // 2]["seconds"], "slowest": starts[-1]["seconds"],
               "cpu": sorted(one["cpu"] for one in starts)[rounds // 2],
               "read_again": max(one["replayed"] for one in starts)}
        found["rows"].append(row)
        say(f"  after {after:12}: first answer after {row['median'] * 1000:.0f} ms (the slowest {row['slowest'] * 1000:.0f} ms, "
            f"CPU {row['cpu'] * 1000:.0f} ms), {row['read_again']:,} entries read again")
    return found


def missed(found):
    return [f"start after {row['after']}: {row['median']:.2f} s" for row in found["rows"] if row["median"] > LIMIT]


def start(binary, state, ending):
    """Starts byline, waits for its first answer, ends it as asked; what it said of the ledger, and the time."""
    listen, = free_ports(1)
    command = [binary, "serve", "--offline", "--state", state, "--listen", f"127.0.0.1:{listen}",
               "--admin", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        first_answer(listen, process, began + PATIENCE)
        seconds = time.monotonic() - began
        used = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(used[11]) + int(used[12])) / TICKS
    except BaseException:
        process.kill()
        raise
    process.send_signal(ending)
    said = process.communicate(timeout=PATIENCE)[1]
    found = re.search(r"ledger open .*?clean=(\w+) .*?replayed=(\d+)", said)
    if not found:
        raise Invalid(f"byline says nothing of its ledger:\n{said}")
    return {"seconds": seconds, "cpu": cpu, "clean": found.group(1) == "true", "replayed": int(found.group(2))}


def first_answer(port, process, until):
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Invalid(f"byline ended with {process.returncode}:\n{process.stderr.read()}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/")
            # The origin is not there: 502 is an answer of Byline's own.
            if connection.getresponse().status != 502:
                raise Invalid("somebody else answers")
            return
        except ConnectionError:
            time.sleep(0.001)
    raise Invalid(f"no answer within {PATIENCE} s")
