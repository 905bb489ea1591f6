"""Tests of services: real tickets through the real middleware, in this process, without daemon, KDC, files or network.

    realm = TestRealm("orders").start()       # or the pytest plugin orthros_client.testing.fixtures
    from orders.app import app                # its middleware finds a key
    client = test_client(app, caller="shop", scopes=["read"])
    assert client.get("/orders/7").status_code == 200
    assert client.refusal("POST", "/orders").code == "insufficient-scope"

The problem: a service is tested with its doors shut, or not at all. A fake caller that is put behind the middleware
tests neither routes nor scopes; a daemon and a KDC in a test are slow, and leave files behind.
The mechanism: a `TestRealm` has random keys in memory. While it runs, `Verifier.from_environment` gives the service a
real verifier with such a key, and `Client` and `AsyncClient` obtain real tickets from the realm, where the test has
said that it grants some. Everything between caller and handler is the product: signatures, replay store, routes,
proofs of responses.
Rejected: a setting that makes a service take test tickets. Whoever can set an environment variable could then log in
everywhere. The product does not know this package (a test checks that nothing imports it), so a process has to run
code of this package to use it; and even then its keys are random bytes that leave the process nowhere, so that nobody
outside can make a ticket, and real tickets are refused.
What would break it: a key that is derived from anything, or is written down.

Needs the extra `testing`. Decides nothing that a KDC would: rules are tested with `orthros_kdc.testing`.
"""

from orthros_client.testing.clients import AsyncTestClient, Refusal, TestClient
from orthros_client.testing.realm import TestRealm, async_test_client, test_client
from orthros_client.testing.tickets import CallerWords, Fault

__all__ = [
    "AsyncTestClient",
    "CallerWords",
    "Fault",
    "Refusal",
    "TestClient",
    "TestRealm",
    "async_test_client",
    "test_client",
]
