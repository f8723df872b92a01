"""What testssl finds at byline's TLS listener with a certificate of a private CA.

Whatever is worse than OK or INFO is printed. Findings about the certificate and the site behind it, which an operator
of a private CA chooses and not byline, are allowed by name; any other fails.
"""

import json
import socket
import ssl
import subprocess

from programs import Invalid, tool

# Finding → why it is not byline's.
ALLOWED = {
    "cert_revocation": "a private CA has no revocation list and no responder",
    "OCSP_stapling": "a private CA has no responder",
    "DNS_CAArecord": "localhost has no such record",
    "certificate_transparency": "a private CA logs nothing",
    "cert_trust": "localhost is the only name",
    "cert_chain_of_trust": "a private CA",
    "HSTS": "is the site's to promise: byline passes what the origin sends",
    "security_headers": "are the site's",
    "engine_problem": "is the testing tool's",
}
FINE = {"OK", "INFO", "DEBUG"}


def measure(byline, work, say):
    findings = testssl(byline, work)
    if any(unknown(finding) for finding in findings):
        say("testssl could not check everything: again")
        findings = testssl(byline, work)
    worse = [finding for finding in findings if finding["severity"] not in FINE]
    say(f"testssl: {len(findings)} findings, {len(worse)} worse than OK")
    rows = []
    for finding in worse:
        # Findings of a second certificate end in a number.
        reason = ALLOWED.get(finding["id"].split(" <")[0])
        if finding["id"] == "sessionresumption_ticket" and unknown(finding) and resumes(byline, work):
            reason = "testssl leaves before it has the ticket; who stays until the answer resumes"
        rows.append({"id": finding["id"], "severity": finding["severity"], "finding": finding["finding"], "allowed": reason})
        say(f"  {finding['severity']:8} {finding['id']:26} {finding['finding'][:70]} {'(' + reason + ')' if reason else ''}")
    return {"count": len(findings), "worse": rows}


def testssl(byline, work):
    out = work / "testssl.json"
    out.unlink(missing_ok=True)
    said = subprocess.run(
        [tool("testssl"), "--quiet", "--color", "0", "--warnings", "off", "--openssl-timeout", "30",
         "--openssl", tool("openssl"), "--add-ca", work / "ca.pem", "--jsonfile", out, f"localhost:{byline.tls}"],
        capture_output=True, text=True, timeout=1800, cwd=work, stdin=subprocess.DEVNULL)
    if not out.exists():
        raise Invalid(f"testssl wrote nothing: {said.stdout[-1000:]}{said.stderr[-1000:]}")
    findings = json.loads(out.read_text())
    if len(findings) < 100:
        raise Invalid(f"testssl looked at {len(findings)} things only: {said.stdout[-1000:]}")
    return findings


def resumes(byline, work):
    """Whether a ticket is honoured. testssl hangs up right after the handshake; in TLS 1.3 the tickets come after that,
    so it is luck whether it gets them, before nginx as well."""
    context = ssl.create_default_context(cafile=work / "ca.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    session = None
    for _ in range(2):
        with socket.create_connection(("localhost", byline.tls), 30) as plain:
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
                connection.sendall(b"GET /1k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                while connection.recv(65536):
                    pass
                session, reused = connection.session, connection.session_reused
    return reused


def unknown(finding):
    """A check that could not be made, on a busy machine for example."""
    return finding["severity"] == "WARN" and finding["id"] not in ALLOWED


def missed(found):
    return [f"testssl: {row['severity']} {row['id']}: {row['finding']}" for row in found["worse"] if not row["allowed"]]
