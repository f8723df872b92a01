#!/usr/bin/env python3
"""Time from the start of `byline serve` to its first answer, on a ledger that a `kill -9` left in its worst state.

    cargo build --release -p byline-proxy -p byline-billing --bin byline --example million_entries
    bench/restart.py --target target/release [--entries 1000000] [--rounds 5]

Each round kills the process again as soon as it has answered, so the next one finds the same ledger and a few entries
more. Exit code 1 if a round took longer than --limit seconds.
"""

import argparse
import http.client
import pathlib
import socket
import subprocess
import sys
import tempfile
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_answer(port, process):
    while process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/")
            # The origin is not there: 502 is an answer of Byline's own.
            return connection.getresponse().status
        except ConnectionError:
            time.sleep(0.001)
    sys.exit(f"byline ended with {process.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=pathlib.Path, required=True)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=1.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="byline-restart-") as state:
        writer = args.target / "examples" / "million_entries"
        print(subprocess.run([writer, state, str(args.entries)], check=True, capture_output=True, text=True).stdout.strip())
        slowest = 0.0
        for number in range(args.rounds):
            port = free_port()
            command = [args.target / "byline", "serve", "--offline", "--state", state]
            command += ["--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1"]
            began = time.monotonic()
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            try:
                status = first_answer(port, process)
                took = time.monotonic() - began
            finally:
                process.kill()
                said = process.communicate()[1]
            found = next((line for line in said.splitlines() if "ledger open" in line), "")
            print(f"round {number + 1}: first answer ({status}) after {took * 1000:.0f} ms; {found.split('ledger open')[-1].strip()}")
            slowest = max(slowest, took)
    print(f"slowest: {slowest * 1000:.0f} ms")
    return int(slowest > args.limit)


if __name__ == "__main__":
    sys.exit(main())
