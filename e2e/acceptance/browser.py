"""A person's browser: headless Chromium sees through byline exactly what it sees without it.

Chromium is pointed at a relay that writes down every byte of both directions; once with nginx behind the relay, once
with byline. What is compared is what Chromium itself received, not a reconstruction.
"""

import socket
import subprocess
import tempfile
import threading

from parts import tool

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--no-proxy-server", "--host-resolver-rules=MAP docs.test 127.0.0.1",
]
# What belongs to one connection, and what byline says it takes away or sets: docs/limits.md.
ON_ONE_CONNECTION = {"connection", "keep-alive"}


class Relay:
    """Passes bytes between Chromium and a server, and keeps them."""

    def __init__(self, port):
        self.upstream, self.talks = None, []
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.upstream))
            talk = {"sent": bytearray(), "received": bytearray()}
            self.talks.append(talk)
            for source, target, kept in ((client, server, talk["sent"]), (server, client, talk["received"])):
                threading.Thread(target=self.pump, args=(source, target, kept), daemon=True).start()

    @staticmethod
    def pump(source, target, kept):
        try:
            while chunk := source.recv(65536):
                kept += chunk
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def turn_to(self, upstream):
        """From now on there is another server behind the relay, and nothing is on record."""
        self.upstream, self.talks = upstream, []

    def answers(self):
        """Every answer by the path that was asked: head and body as they were on the wire."""
        found = {}
        for talk in self.talks:
            requests = [head for head, _ in messages(bytes(talk["sent"]), request=True)]
            for head, answer in zip(requests, messages(bytes(talk["received"]), request=False)):
                found[head.split(b" ", 2)[1].decode()] = (head, *answer)
        return found


def messages(stream, request):
    """Splits a stream of HTTP/1.1 messages by their lengths."""
    while b"\r\n\r\n" in stream:
        head, stream = stream.split(b"\r\n\r\n", 1)
        fields = {}
        for line in head.split(b"\r\n")[1:]:
            name, value = line.split(b":", 1)
            fields[name.strip().lower()] = value.strip()
        body = b""
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            while True:
                size, stream = stream.split(b"\r\n", 1)
                part = int(size.split(b";")[0], 16)
                body, stream = body + stream[:part], stream[part + 2:]
                if not part:
                    break
        elif not request and head.split(b" ")[1] in (b"204", b"304"):
            pass
        else:
            length = int(fields.get(b"content-length", b"0"))
            body, stream = stream[:length], stream[length:]
        yield head, body


def visit(port, pages):
    """Opens each page in a fresh Chromium and gives the documents as it understood them."""
    documents = {}
    with tempfile.TemporaryDirectory(prefix="byline-chromium-") as profile:
        for page in pages:
            said = subprocess.run(
                [tool("chromium"), *FLAGS, f"--user-data-dir={profile}/{page}", "--virtual-time-budget=5000",
                 "--dump-dom", f"http://docs.test:{port}/{page}"],
                capture_output=True, text=True, timeout=120,
            )
            if said.returncode:
                raise RuntimeError(f"chromium: {said.stderr[-2000:]}")
            documents[page] = said.stdout
    return documents


def browse(free_port, nginx_port, byline_port, pages):
    """Visits the pages with nginx, then with byline behind the same address."""
    seen = []
    relay = Relay(free_port)
    for upstream in (nginx_port, byline_port):
        relay.turn_to(upstream)
        documents = visit(free_port, pages)
        seen.append((documents, relay.answers()))
    relay.listener.close()
    return seen


def differences(direct, through):
    """What differs between two sets of answers, in words; nothing when they are the same."""
    found = []
    if set(direct) != set(through):
        found.append(f"paths: {set(direct) ^ set(through)}")
    for path in sorted(set(direct) & set(through)):
        (_, head_a, body_a), (_, head_b, body_b) = direct[path], through[path]
        if body_a != body_b:
            found.append(f"{path}: {len(body_a)} bytes became {len(body_b)}")
        lines_a, lines_b = (head.decode("latin-1").split("\r\n") for head in (head_a, head_b))
        if lines_a[0] != lines_b[0]:
            found.append(f"{path}: {lines_a[0]} became {lines_b[0]}")
        kept_a, kept_b = (
            sorted(line for line in lines[1:] if line.split(":")[0].lower() not in ON_ONE_CONNECTION)
            for lines in (lines_a, lines_b)
        )
        # Two fetches have two times; the field's name and form are compared all the same.
        kept_a, kept_b = (
            ["Date: " + str(len(line)) if line.startswith("Date: ") else line for line in kept]
            for kept in (kept_a, kept_b)
        )
        if kept_a != kept_b:
            found.append(f"{path}: {sorted(set(kept_a) ^ set(kept_b))}")
    return found
