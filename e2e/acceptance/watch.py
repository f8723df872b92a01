"""A real Prometheus, and what strangers can do to it."""

import json
import random
import socket
import subprocess
import urllib.parse

from parts import Process, fetch, free_ports, tool, wait_until

CONFIG = """global:
  scrape_interval: 1s
scrape_configs:
  - job_name: byline
    static_configs:
      - targets: ["127.0.0.1:{admin}"]
"""


class Prometheus(Process):
    """Debian's Prometheus, scraping byline every second."""

    def __init__(self, work, admin):
        (self.port,) = free_ports(1)
        conf = work / "prometheus.yml"
        conf.write_text(CONFIG.format(admin=admin))
        super().__init__(work, "prometheus", [
            tool("prometheus"), f"--config.file={conf}", f"--storage.tsdb.path={work}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
        ])
        wait_until("prometheus", lambda: self.check() and fetch(f"http://127.0.0.1:{self.port}/-/ready")[0] == 200)

    def query(self, expression):
        quoted = urllib.parse.urlencode({"query": expression})
        status, body = fetch(f"http://127.0.0.1:{self.port}/api/v1/query?{quoted}")
        result = json.loads(body)["data"]["result"] if status == 200 else []
        return [float(sample["value"][1]) for sample in result]

    def scraped(self):
        """Whether byline is up in Prometheus' eyes, after at least one scrape."""
        return wait_until("a scrape", lambda: self.query('up{job="byline"}') == [1.0])

    def wait_for(self, expression, expected):
        wait_until(f"{expression} = {expected}", lambda: self.query(expression) == [expected])
        return True


def promtool_metrics(byline):
    text = fetch(byline.admin_url + "/metrics")[1]
    return subprocess.run([tool("promtool"), "check", "metrics"], input=text, capture_output=True)


def promtool_rules(files):
    return subprocess.run([tool("promtool"), "check", "rules", *map(str, files)], capture_output=True, text=True)


def strangers(port, count, seed):
    """Requests with random hosts, paths and user agents over one connection; the seed is part of the result."""
    dice = random.Random(seed)
    word = lambda: "".join(dice.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=12))
    known = ["GPTBot/1.2", "ClaudeBot/1.0", "CCBot/2.0", "Mozilla/5.0", "Googlebot/2.1"]
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        reader = connection.makefile("rb")
        for _ in range(count):
            agent = dice.choice(known) if dice.random() < 0.2 else f"{word()}/{dice.randrange(9)}"
            connection.sendall(
                f"GET /{word()}/{word()}?{word()} HTTP/1.1\r\nHost: {word()}.test\r\nUser-Agent: {agent}\r\n\r\n".encode()
            )
            length = 0
            while (line := reader.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                elif line.lower().startswith(b"transfer-encoding:"):
                    raise RuntimeError("an answer of unknown length to a stranger")
            reader.read(length)
