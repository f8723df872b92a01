"""Gets a licence token with `authlib`, as any OAuth 2.0 client does, asks about it, and fetches with it.

licence_client.py SERVER CLIENT SECRET LICENSE RESOURCE WORK AGENT FROM -> JSON
"""

import json
import sys

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from requests.adapters import HTTPAdapter


class From(HTTPAdapter):
    """Connects from an address of its own."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=(self.address, 0), **kwargs)


def main():
    server, client, secret, licence, resource, work, agent, address = sys.argv[1:]
    session = OAuth2Session(client, secret, token_endpoint_auth_method="client_secret_basic")
    said = {}
    try:
        token = session.fetch_token(
            f"{server}/token",
            grant_type="client_credentials",
            license=licence,
            license_type="application/rsl+xml",
            resource=resource,
        )
    except OAuthError as error:
        print(json.dumps({"error": error.error}))
        return
    said["token"] = {key: token[key] for key in ("token_type", "expires_in")}
    body = requests.models.RequestEncodingMixin._encode_params({"resource": work})
    said["introspection"] = session.introspect_token(
        f"{server}/introspect", token=token["access_token"], body=body
    ).json()
    crawler = requests.Session()
    crawler.mount("http://", From(address))
    header = f"{token['token_type']} {token['access_token']}"
    for name, headers in (("with", {"Authorization": header}), ("without", {})):
        answer = crawler.get(work, headers={"User-Agent": agent, **headers}, timeout=20)
        said[name] = {"status": answer.status_code, "body": answer.text}
    print(json.dumps(said))


main()
