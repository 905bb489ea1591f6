"""A client whose token is renewed: renewing_client.py URL CLIENT_ID SECRET_FILE ADDRESS. Needs Authlib and requests."""

import sys

from authlib.integrations.requests_client import OAuth2Session

url, client_id, secret_file, address = sys.argv[1:]
with open(secret_file, encoding="ascii") as opened:
    secret = opened.read().strip()
session = OAuth2Session(client_id, secret, token_endpoint=f"{url}/token", grant_type="client_credentials")
session.fetch_token()  # for the default target of the client; each request renews the token when it is about to end
sys.stdout.write(session.get(address).text)
