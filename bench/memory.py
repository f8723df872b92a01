"""Memory of idle connections: resident set of a freshly started proxy with 0, 1,000 and 10,000 of them.

Each connection has done one request before it lies idle. They come from many loopback addresses, as visitors do.
"""

import socket
import ssl
import subprocess
import sys
import time

from programs import PERSON, Invalid

COUNTS = [0, 1000, 10000]
# Nobody is sent away for lying idle while the others connect.
PATIENT = '[timeouts]\nrequest_head = "10m"\n'
PER_ADDRESS = 100


def measure(start, protocols, counts, say, trust):
    """`start`: name → a function that starts a fresh proxy. Answers, for each protocol and proxy, RSS in KiB."""
    figures = {}
    say("resident KiB with idle connections")
    for protocol in protocols:
        for name, begin in start.items():
            proxy = begin()
            rss = {}
            for count in counts:
                rss[count] = with_idle(proxy, protocol, count, trust)
            proxy.process.stop()
            most = max(counts)
            each = (rss[most] - rss[min(counts)]) / (most - min(counts))
            figures.setdefault(protocol, {})[name] = {"rss": rss, "each": each}
            say(f"  {protocol:4} {name:10} " + "  ".join(f"{c}: {k}" for c, k in rss.items()) + f"   {each:.1f} KiB each")
    return figures


def with_idle(proxy, protocol, count, trust):
    """RSS while another process holds so many connections."""
    argv = [sys.executable, __file__, str(proxy.tls if protocol == "h1s" else proxy.plain), str(count)]
    client = subprocess.Popen(argv + ([str(trust)] if protocol == "h1s" else []),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if client.stdout.readline() != "open\n":
            raise Invalid(f"{proxy.name}: {count} idle connections could not be opened")
        time.sleep(1)
        rss = proxy.process.rss_kib()
        client.stdin.write("still there?\n")
        client.stdin.flush()
        if client.stdout.readline() != "open\n":
            raise Invalid(f"{proxy.name}: idle connections were closed before they were counted")
        return rss
    finally:
        client.stdin.close()
        client.wait(60)
        time.sleep(0.5)


def hold(port, count, trust):
    """The client: opens the connections, says so, and checks when asked that none has been closed."""
    context = ssl.create_default_context(cafile=trust) if trust else None
    request = f"GET /1k HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {PERSON}\r\n\r\n".encode()
    connections = []
    for number in range(count):
        source = f"127.0.{1 + number // PER_ADDRESS // 250}.{1 + number // PER_ADDRESS % 250}"
        connection = socket.create_connection(("127.0.0.1", port), 30, source_address=(source, 0))
        if context:
            connection = context.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(request)
        answer = b""
        while answer.partition(b"\r\n\r\n")[2] == b"" or len(answer.partition(b"\r\n\r\n")[2]) < 1024:
            more = connection.recv(65536)
            if not more:
                raise SystemExit(f"closed after {answer!r}")
            answer += more
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(answer[:100])
        connection.setblocking(False)
        connections.append(connection)
    print("open", flush=True)
    sys.stdin.readline()
    for connection in connections:
        try:
            if not connection.recv(1):
                raise SystemExit("closed")
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
    print("open", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    hold(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
