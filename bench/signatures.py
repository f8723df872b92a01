"""What a crawler's signature costs: the same metered fetch unsigned, with a signature that was verified before, and with one
that was not.

They take turns at the same byline. The bare Ed25519 verification, which is what a fresh signature should cost and little
more, is measured twice. In the same minutes by ring itself, a thousand times the same (policy/examples/signed_requests.rs):
caches and branch predictor have never been warmer. And at the place where it is done: a fourth kind of fetch has a signature
that lacks its last byte, so that everything about it is done but the curve; what one that holds costs more is the curve.
"""

import base64
import http.server
import json
import ssl
import statistics
import subprocess
import threading
import urllib.request

import load
from programs import CRAWLER, PROXY_CPU, Invalid, settle, tool, wait_until

# More than byline remembers of signatures that it has verified.
DISTINCT = 8192
CASES = ["1k", "10k"]
ROW = '[[crawler]]\ntoken = "BenchBot"\noperator = "bench"\npurpose = "train"\nranges = ["127.0.0.0/8"]\nagents = ["{agent}"]\n'
CONFIGURATION = '[identity]\nfetch = false\nreverse_dns = false\nnameserver = "127.0.0.1:9"\nagent_networks = ["127.0.0.0/8"]\n'


def measure(stage, binary, example, rounds, seconds, say):
    directory, agent = serve_keys(stage.work)
    policy = (stage.work / "policy.toml").read_text()
    start, end = policy.index("[[crawler]]"), policy.index("[[account]]")
    signed_policy = stage.work / "signed.toml"
    signed_policy.write_text(policy[:start] + ROW.format(agent=agent) + "\n" + policy[end:])
    byline = stage.byline(binary, "byline-signed", CONFIGURATION, policy=signed_policy, offline=False,
                          env={"SSL_CERT_FILE": str(stage.work / "ca.pem")})
    made = sign(example, agent, DISTINCT)
    directory.update(body=made["directory"].encode(), media_type=made["media_type"])
    first = made["requests"][0]
    wait_until("the agent's keys", lambda: verified(byline, first) > 0, 60)
    # All three by the same script: one that is slower to ask makes the proxy sleep and wake more often.
    kinds = {"unsigned": [{}] * DISTINCT, "verified before": [first] * DISTINCT, "verified afresh": made["requests"],
             "cut short": [cut_short(request) for request in made["requests"]]}
    rows = []
    for size in CASES:
        runs = []
        for number in range(rounds):
            names = list(kinds)
            names = names[number % len(names):] + names[:number % len(names)]
            bare = sign(example, agent, 1)["cpu_micros"]
            got = {name: once(stage, byline, size, kinds[name], seconds) for name in names}
            runs.append(got | {"bare": bare})
        def median(of):
            return statistics.median(of(run) for run in runs)
        row = {"size": size} | {name: median(lambda run: run[name]) for name in [*kinds, "bare"]}
        row["before / unsigned"] = median(lambda run: run["verified before"] / run["unsigned"])
        row["in place"] = median(lambda run: run["verified afresh"] - run["cut short"])
        row["afresh, more / bare"] = median(lambda run: (run["verified afresh"] - run["unsigned"]) / run["bare"])
        row["afresh, more / in place"] = median(lambda run: (run["verified afresh"] - run["unsigned"])
                                                / (run["verified afresh"] - run["cut short"]))
        rows.append(row)
        say(f"{size:5} unsigned {row['unsigned']:.1f} µs, verified before {row['verified before']:.1f} ({row['before / unsigned']:.3f}), "
            f"afresh {row['verified afresh']:.1f}: {row['afresh, more / bare']:.2f} bare verifications of {row['bare']:.1f} µs more, "
            f"{row['afresh, more / in place']:.2f} of {row['in place']:.1f} µs, which it takes there")
    say(stage.check_ledger(byline))
    return rows


def once(stage, byline, size, signatures, seconds):
    before = byline.process.cpu_seconds()
    script = stage.work / "signed.lua"
    script.write_text(lua(signatures, byline.url("h1", size)))
    count = load.wrk(byline, "h1", size, CRAWLER, seconds, "-s", script)
    settle()
    byline.metered += count
    return byline.process.cpu_since(before) / count * 1e6


def lua(requests, url):
    """wrk takes one request after the other."""
    path = url[url.index("/", len("http://")):]
    lines = ["local all = {}"]
    for request in requests:
        given = {"Host": "localhost", "User-Agent": CRAWLER} | request
        table = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in given.items())
        lines.append(f"all[#all + 1] = {{{table}}}")
    lines += ["local texts, next = {}, 0",
              f'function init() for i, h in ipairs(all) do texts[i] = wrk.format("GET", {json.dumps(path)}, h) end end',
              "function request() next = next % #texts + 1; return texts[next] end"]
    return "\n".join(lines)


def cut_short(request):
    """The same request, its signature a byte too short: read in full, never verified."""
    label, value = request["Signature"].split("=:", 1)
    value = base64.b64encode(base64.b64decode(value.removesuffix(":"))[:-1]).decode()
    return request | {"Signature": f"{label}=:{value}:"}


def sign(example, agent, count):
    argv = [example, agent, "localhost", str(count)]
    if PROXY_CPU is not None:
        argv = [tool("taskset"), "-c", str(PROXY_CPU), *argv]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120).stdout)


def verified(byline, request):
    """How many signatures byline has verified, after one more."""
    asked = urllib.request.Request(byline.url("h1", "1k"), headers={"User-Agent": CRAWLER, "Host": "localhost", **request})
    urllib.request.urlopen(asked, timeout=10).read()
    byline.metered += 1
    text = urllib.request.urlopen(f"http://127.0.0.1:{byline.admin}/metrics", timeout=10).read().decode()
    line = next(line for line in text.splitlines() if line.startswith('byline_signatures_total{verdict="verified"}'))
    return float(line.rsplit(" ", 1)[1])


def serve_keys(work):
    """An https server with the keys that will be put into the dictionary that is given back; and their address."""
    directory = {}

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = directory.get("body")
            self.send_response(200 if body else 503)
            self.send_header("Content-Type", directory.get("media_type", "text/plain"))
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Keys)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(work / "cert.pem", work / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return directory, f"https://127.0.0.1:{server.server_address[1]}/keys.json"
