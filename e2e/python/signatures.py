"""Signs and verifies with `http-message-signatures`: a JSON object a line in, one a line out.

{"do": "sign", "method", "url", "headers": [[name, value]…], "algorithm", "label", "components", "created", "expires",
 "nonce", "tag", "alg": bool} -> {"input", "signature", "jwk"} or {"error"}
{"do": "verify", "method", "url", "headers", "jwk", "algorithm", "tag"} -> {"ok": bool, "error"}
"""

import base64
import datetime
import hashlib
import json
import sys
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, MappingKeyResolver, algorithms

ALGORITHMS = {
    "ed25519": algorithms.ED25519,
    "rsa-pss-sha512": algorithms.RSA_PSS_SHA512,
    "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256,
}


class Headers:
    """Field lines in their order."""

    def __init__(self, lines):
        self.lines = [tuple(line) for line in lines]

    def items(self):
        return self.lines

    def __iter__(self):
        return iter(dict.fromkeys(name for name, _ in self.lines))

    def __contains__(self, name):
        return any(field.lower() == name.lower() for field, _ in self.lines)

    def __setitem__(self, name, value):
        if name in self:
            del self[name]
        self.lines.append((name, value))

    def __delitem__(self, name):
        self.lines = [line for line in self.lines if line[0].lower() != name.lower()]


@dataclass
class Message:
    method: str
    url: str
    headers: Headers


def b64(number_or_bytes, length=None):
    data = number_or_bytes
    if isinstance(data, int):
        data = data.to_bytes(length or (data.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text):
    return int.from_bytes(unb64(text), "big")


def public_jwk(key):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": b64(key.public_key().public_bytes_raw())}
    numbers = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"e": b64(numbers.e), "kty": "RSA", "n": b64(numbers.n)}
    return {"crv": "P-256", "kty": "EC", "x": b64(numbers.x, 32), "y": b64(numbers.y, 32)}


def thumbprint(jwk):
    return b64(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())


def public_key(jwk):
    if jwk["kty"] == "OKP":
        return ed25519.Ed25519PublicKey.from_public_bytes(unb64(jwk["x"]))
    if jwk["kty"] == "RSA":
        return rsa.RSAPublicNumbers(number(jwk["e"]), number(jwk["n"])).public_key()
    return ec.EllipticCurvePublicNumbers(number(jwk["x"]), number(jwk["y"]), ec.SECP256R1()).public_key()


RSA_KEYS = []


def new_key(algorithm):
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "ecdsa-p256-sha256":
        return ec.generate_private_key(ec.SECP256R1())
    # These take long to make.
    if not RSA_KEYS:
        RSA_KEYS.append(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    return RSA_KEYS[0]


def message(asked):
    return Message(asked["method"], asked["url"], Headers(asked["headers"]))


def sign(asked):
    key = new_key(asked["algorithm"])
    jwk = public_jwk(key)
    keyid = thumbprint(jwk)
    signer = HTTPMessageSigner(
        signature_algorithm=ALGORITHMS[asked["algorithm"]],
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={keyid: key}),
    )
    moment = lambda seconds: datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc)
    signed = message(asked)
    signer.sign(
        signed,
        key_id=keyid,
        created=moment(asked["created"]),
        expires=moment(asked["expires"]),
        nonce=asked["nonce"],
        label=asked["label"],
        tag=asked["tag"],
        include_alg=asked["alg"],
        covered_component_ids=asked["components"],
        use_existing_digest="content-digest" in signed.headers,
    )
    fields = {name.lower(): value for name, value in signed.headers.items()}
    return {"input": fields["signature-input"], "signature": fields["signature"], "jwk": jwk}


def verify(asked):
    class Resolver(MappingKeyResolver):
        # There is one key, and the `keyid` is somebody else's concern.
        def resolve_public_key(self, key_id):
            return self.public_keys[""]

    verifier = HTTPMessageVerifier(
        signature_algorithm=ALGORITHMS[asked["algorithm"]],
        key_resolver=Resolver(public_keys={"": public_key(asked["jwk"])}, private_keys={}),
    )
    verifier.max_clock_skew = datetime.timedelta(seconds=60)
    verifier.verify(message(asked), expect_tag=asked["tag"])
    return {"ok": True}


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = sign(asked) if asked["do"] == "sign" else verify(asked)
        except Exception as error:  # Whatever it is, it is an answer.
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
