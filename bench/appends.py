"""Durable ledger entries per second through the public `Appender`, for one, 64 and 1,000 callers that each wait for theirs."""

import json
import subprocess

from programs import Invalid


def measure(binary, directory, seconds, say):
    said = subprocess.run([binary, directory, str(seconds)], capture_output=True, text=True)
    if said.returncode:
        raise Invalid(f"{binary} failed: {said.stderr}")
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    say("durable ledger entries a second")
    for row in rows:
        say(f"  {row['callers']:5} callers, {row['bytes']} bytes: {row['per_second']:9.0f}, CPU µs each {row['cpu_micros']:.1f}, "
            f"p50 {row['p50_micros']} µs, p99 {row['p99_micros']} µs")
    return rows
