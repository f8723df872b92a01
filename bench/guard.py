#!/usr/bin/env python3
"""Fails when a request needs more system calls or instructions than budgets.toml grants it.

Both are counts and hardly depend on the machine or on what else it does (see counts.py), so a change that makes the
data path dearer is seen in the commit that does it. Exit codes: 0 within the budgets; 1 over one; 2 not valid.
"""

import argparse
import math
import os
import pathlib
import shutil
import sys
import tempfile
import tomllib

import counts
from programs import Invalid, Stage, end_cleanly

BUDGETS = pathlib.Path(__file__).resolve().with_name("budgets.toml")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=os.path.abspath, help="the release build of byline")
    parser.add_argument("--set", action="store_true", help="make what is measured now, and a tenth, the budgets")
    args = parser.parse_args()
    end_cleanly()
    budgets = tomllib.loads(BUDGETS.read_text())
    work = pathlib.Path(tempfile.mkdtemp(prefix="byline-guard-"))
    stage = None
    try:
        stage = Stage(work)
        found = counts.measure(stage, args.binary, list(budgets), lambda text: print(text, flush=True))
    except (Invalid, TimeoutError) as why:
        print(f"not valid: {why}", file=sys.stderr)
        return 2
    finally:
        if stage:
            stage.end()
        shutil.rmtree(work, ignore_errors=True)
    if args.set:
        write(found)
        return 0
    over = [f"{case}: {found[case][what]:,.2f} {name} per request, its budget is {budget[what]:,}"
            for case, budget in budgets.items()
            for what, name in (("calls", "system calls"), ("instructions", "instructions")) if found[case][what] > budget[what]]
    if over:
        print("\nOVER BUDGET\n  " + "\n  ".join(over) + "\n"
              "Where they go: make bench BENCH=\"--only counts --count-cases CASE --functions 40\", here and on the commit\n"
              f"before. If a request does more than it did, and should, raise the budget in bench/{BUDGETS.name} in that commit.",
              file=sys.stderr)
        return 1
    print("within the budgets of system calls and instructions")
    return 0


def write(found):
    head = BUDGETS.read_text().partition("\n\n")[0]
    if any(math.isnan(row["calls"]) for row in found.values()):
        raise SystemExit("no budgets were set: system calls could not be counted")
    rows = [f'["{case}"]\ncalls = {row["calls"] * 1.1:.1f}\ninstructions = {round(row["instructions"] * 1.1, -3):_.0f}\n'
            for case, row in found.items()]
    BUDGETS.write_text("\n".join([head + "\n", *rows]))


if __name__ == "__main__":
    sys.exit(main())
