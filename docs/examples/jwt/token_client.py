"""A client that gets a token: token_client.py URL CLIENT_ID SECRET_FILE TARGET. Needs requests-oauthlib."""

import sys

from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

url, client_id, secret_file, target = sys.argv[1:]
with open(secret_file, encoding="ascii") as opened:
    secret = opened.read().strip()
session = OAuth2Session(client=BackendApplicationClient(client_id))
token = session.fetch_token(f"{url}/token", client_secret=secret, audience=target)
sys.stdout.write(token["access_token"])
