"""Puts a build of byline that counts its branches to the work that the shipped binary is made for.

Metered and passed requests of three sizes over each protocol, and new TLS connections. The counts are written when it
stops; deploy/dist.sh builds from them.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile

import load
from counts import AGENTS
from programs import SIZES, Stage, end_cleanly


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=os.path.abspath, help="the build that counts")
    args = parser.parse_args()
    end_cleanly()
    work = pathlib.Path(tempfile.mkdtemp(prefix="byline-train-"))
    stage = Stage(work)
    try:
        byline = stage.byline(args.binary)
        stage.check_bodies(byline)
        for protocol, connections in (("h1", 64), ("h1s", 64), ("h2", 16), ("h2c", 16)):
            for size in SIZES:
                for kind, agent in AGENTS.items():
                    count = 500 if size == "100k" else 3000
                    load.requests(byline, protocol, size, agent, count, connections)
                    byline.metered += count if kind == "metered" else 0
        print(stage.check_ledger(byline))
    finally:
        stage.end()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
