"""Counts that do not depend on what else the machine does: system calls and user instructions per request.

Both are differences between a run of so many requests and one of twice as many, so that starting and stopping cancel.
Instructions are those that callgrind counts, less the compression function of SHA-256: valgrind hides the processor's
SHA extensions from the program, which then hashes with a hundred times the instructions that it needs in earnest.
"""

import math
import re
import signal
import subprocess
import time

import load
from programs import CRAWLER, PERSON, Invalid, settle, tool

CASES = [f"{kind}:{case}" for case in ("h1:1k", "h1:10k", "h1:100k", "h1s:1k", "h2:1k") for kind in ("metered", "passed")]
AGENTS = {"metered": CRAWLER, "passed": PERSON}
HASHING = re.compile(r"sha256_block|sha2.*compress|sha256.*compress")
CONNECTIONS = 64


class CannotTrace(Exception):
    """Only root, or a kernel without restrictions on ptrace, lets strace look at a running process."""


def measure(stage, binary, cases, say, functions=0):
    found = {case: {} for case in cases}
    byline = stage.byline(binary, "byline-counted")
    stage.check_bodies(byline)
    for case in cases:
        try:
            found[case]["calls"], found[case]["by name"] = system_calls(byline, *case.split(":", 1))
        except CannotTrace:
            say("system calls are not counted: strace may not attach to a process here")
            found[case]["calls"], found[case]["by name"] = math.nan, {}
            byline.metered = 0
    say(stage.check_ledger(byline))
    callgrind = Callgrind(stage, binary)
    say("per request         system calls  instructions  of SHA-256")
    for case in cases:
        costs, hashing = callgrind.instructions(*case.split(":", 1))
        found[case] |= {"instructions": sum(costs.values()), "hashing": hashing}
        say(f"{case:18} {found[case]['calls']:13.2f} {sum(costs.values()):13.0f} {hashing:11.0f}")
        say("    " + ", ".join(f"{name} {each:.2f}" for name, each in found[case]["by name"].items()))
        for name in sorted(costs, key=costs.get, reverse=True)[:functions]:
            say(f"    {costs[name]:9.0f}  {name}")
    say(stage.check_ledger(callgrind.proxy))
    return found


def system_calls(proxy, kind, case, count=1000, attempts=3):
    """System calls of the whole process per request: in all, and by name. The fewest of some attempts, because a load
    generator that gets no CPU makes the proxy sleep and wake more often."""
    protocol, size = case.split(":")
    load.requests(proxy, protocol, size, AGENTS[kind], count, CONNECTIONS)
    found = []
    for _ in range(attempts):
        once, twice = (traced(proxy, kind, protocol, size, times * count) for times in (1, 2))
        found.append({name: (twice[name] - once.get(name, 0)) / count for name in twice})
    if kind == "metered":
        proxy.metered += (1 + 3 * attempts) * count
    each = min(found, key=lambda each: sum(each.values()))
    return sum(each.values()), {name: each[name] for name in sorted(each, key=each.get, reverse=True) if each[name] >= 0.01}


def traced(proxy, kind, protocol, size, count):
    out = proxy.process.said.with_suffix(".strace")
    tracer = subprocess.Popen([tool("strace"), "-f", "-c", "-o", out, "-p", str(proxy.process.child.pid)],
                              stderr=subprocess.PIPE, text=True)
    try:
        if "attached" not in tracer.stderr.readline():
            raise CannotTrace
        load.requests(proxy, protocol, size, AGENTS[kind], count, CONNECTIONS)
        settle()
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", out.read_text(), re.M)
    return {name: int(calls) for calls, name in rows if name != "total"}


class Callgrind:
    """byline under callgrind, one thread serving."""

    def __init__(self, stage, binary):
        self.out = stage.work / "callgrind"
        wrap = [tool("valgrind"), "--tool=callgrind", f"--callgrind-out-file={self.out}", "--quiet"]
        # `rep movsb` counts as an instruction for each byte: copies are done with vector instructions here.
        plain = "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=0x40000000:glibc.cpu.x86_rep_stosb_threshold=0x40000000"
        wrap = [tool("env"), plain, *wrap]
        self.proxy = stage.byline(binary, "byline-callgrind", wrap=wrap, cpu=None, patience=120)
        self.parts = 0

    def instructions(self, kind, case, count=500):
        """Instructions per request of each function, the compression function of SHA-256 apart."""
        protocol, size = case.split(":")
        agent = AGENTS[kind]
        load.requests(self.proxy, protocol, size, agent, count, CONNECTIONS)
        self.dump()
        taken = []
        for times in (1, 2):
            load.requests(self.proxy, protocol, size, agent, times * count, CONNECTIONS)
            time.sleep(0.5)
            taken.append(self.dump())
        if kind == "metered":
            self.proxy.metered += 4 * count
        once, twice = taken
        functions = {name: (twice.get(name, 0) - once.get(name, 0)) / count for name in once.keys() | twice.keys()}
        hashing = sum(functions.pop(name) for name in list(functions) if HASHING.search(name))
        if not hashing and kind == "metered":
            raise Invalid("no function of SHA-256 was seen: has the binary no symbols, or did the name change?")
        return functions, hashing

    def dump(self):
        """Instructions of each function since the last dump."""
        self.parts += 1
        subprocess.run([tool("callgrind_control"), "--dump", str(self.proxy.process.child.pid)],
                       check=True, capture_output=True, timeout=120)
        return self_costs(self.out.with_name(f"{self.out.name}.{self.parts}").read_text())


def self_costs(dump):
    """What each function of a callgrind dump cost itself, without what it called."""
    names, costs, function, after_calls = {}, {}, None, False
    for line in dump.splitlines():
        if line.startswith(("fn=", "cfn=")):
            # The first mention of a function has its name, the others only its number.
            number, _, name = line.partition("=")[2].partition(" ")
            name = names.setdefault(number, name)
            if line.startswith("fn="):
                function = name
        elif line.startswith("calls="):
            after_calls = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            # The line after `calls=` is the cost of the callee, which has lines of its own.
            if not after_calls:
                costs[function] = costs.get(function, 0) + int(line.split()[1])
            after_calls = False
        elif line.startswith("totals:") and sum(costs.values()) != int(line.split()[1]):
            raise Invalid("a callgrind dump was not understood")
    return costs
