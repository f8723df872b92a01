"""Judges robots.txt with `protego`: {"file", "agents": […], "url"} a line in, {"allowed": [bool…]} a line out."""

import json
import sys

from protego import Protego

for line in sys.stdin:
    asked = json.loads(line)
    rules = Protego.parse(asked["file"])
    allowed = [rules.can_fetch(asked["url"], agent) for agent in asked["agents"]]
    print(json.dumps({"allowed": allowed}), flush=True)
