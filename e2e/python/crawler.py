"""A crawler that signs with `http-message-signatures`, pays by Pay Per Crawl, and publishes its keys over https itself.

    crawler.py CHAIN.pem KEY.pem

The first line on stdout is {"directory": URL, "keyid"}. Then a JSON object a line in, one a line out:

{"do": "sign", "method", "url", "headers", "components", …} -> {"headers": [[name, value]…]}: what to send
{"do": "get", …the same, "connect": "host:port"} -> {"status", "headers", "body"}
{"do": "crawl", …the same, "budget": "USD 0.01"} -> {"first": …, "second": …}: asks; told a price within the budget, pays it
"""

import datetime
import http.client
import json
import secrets
import ssl
import sys
import threading
import urllib.parse
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric import ed25519
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from signatures import Headers, Message, public_jwk, thumbprint

WELL_KNOWN = "/.well-known/http-message-signatures-directory"


def serve_keys(jwk, chain, key):
    """A directory at the well-known path, and the same key at another place, which is another agent's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"keys": [jwk]}).encode()
            self.send_response(200 if self.path in (WELL_KNOWN, "/other.json") else 404)
            self.send_header("Content-Type", "application/http-message-signatures-directory+json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "max-age=3600")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://127.0.0.1:{server.server_address[1]}"


class Crawler:
    def __init__(self, chain, key):
        self.key = ed25519.Ed25519PrivateKey.generate()
        self.jwk = public_jwk(self.key)
        self.keyid = thumbprint(self.jwk)
        self.agent = serve_keys(self.jwk, chain, key)

    def signed(self, asked):
        # A stranger has a key of his own, and says whatever he likes about it.
        key, keyid = self.key, self.keyid
        if asked.get("stranger"):
            key = ed25519.Ed25519PrivateKey.generate()
            keyid = thumbprint(public_jwk(key))
        message = Message(asked.get("method", "GET"), asked["url"], Headers(asked["headers"]))
        agent = asked.get("agent", self.agent + WELL_KNOWN)
        # A dictionary unless something else is asked for: of the three generations it is the newest.
        message.headers["Signature-Agent"] = asked.get("signature_agent", f'sig1="{agent}"')
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=asked.get("shift", 0))
        signer = HTTPMessageSigner(
            signature_algorithm=algorithms.ED25519,
            key_resolver=MappingKeyResolver(public_keys={}, private_keys={keyid: key}),
        )
        signer.sign(
            message,
            key_id=keyid,
            created=now,
            expires=now + datetime.timedelta(seconds=asked.get("lasts", 600)),
            nonce=secrets.token_urlsafe(32) if asked.get("nonce", True) else None,
            label="sig1",
            tag="web-bot-auth",
            covered_component_ids=[*asked["components"], asked.get("covers_agent", '"signature-agent";key="sig1"')],
        )
        return message.headers.items()

    def get(self, asked):
        url = urllib.parse.urlsplit(asked["url"])
        connection = http.client.HTTPConnection(asked["connect"], timeout=20)
        connection.putrequest("GET", url.path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", url.netloc)
        for name, value in self.signed(asked):
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
        connection.close()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return {"status": answer.status, "headers": headers, "body": body}

    def crawl(self, asked):
        first = self.get(asked)
        if first["status"] != 402:
            return {"first": first}
        currency, amount = first["headers"]["crawler-price"].split(" ")
        budget_currency, budget = asked["budget"].split(" ")
        if currency != budget_currency or Decimal(amount) > Decimal(budget):
            return {"first": first}
        headers = [*asked["headers"], ["crawler-exact-price", f"{currency} {amount}"]]
        components = [*asked["components"], "crawler-exact-price"]
        return {"first": first, "second": self.get({**asked, "headers": headers, "components": components})}


def main():
    crawler = Crawler(*sys.argv[1:])
    print(json.dumps({"directory": crawler.agent, "keyid": crawler.keyid}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "sign":
                answer = {"headers": list(crawler.signed(asked))}
            else:
                answer = crawler.crawl(asked) if asked["do"] == "crawl" else crawler.get(asked)
        except Exception as error:  # The test says what it thinks of it.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
