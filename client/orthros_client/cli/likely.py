"""The usual mistakes that one call can show, and which of them its error looks like: `orthros doctor --url`.

A guess by what the error says; `make mistakes` makes each of them, and a test compares the names.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from orthros_client.errors import OrthrosError

__all__ = ["LIKELY", "Likely", "likely"]


@frozen
class Likely:
    """A mistake, and whose it is. It looks like this when the error has the code and says the words."""

    code: str
    words: str
    name: str
    at: str


_SEALED: Final = "cannot open the ticket"
_NO_ORIGIN: Final = "none of its origins"
_NO_MIDDLEWARE: Final = "the application there has no Orthros middleware"
LIKELY: Final = (
    Likely("response-unproven", _NO_ORIGIN, "the URL names the service by another host than its `origins`", "caller"),
    Likely("response-unproven", _NO_ORIGIN, "a proxy puts its own name for the service into Host", "proxy"),
    Likely(
        "response-unproven",
        _NO_ORIGIN,
        "the URL has the port that a host forwards, and `origins` the one behind it",
        "caller, or the service's `origins`",
    ),
    Likely("response-unproven", "likelier another server", "another server listens at this address", "caller"),
    Likely("response-unproven", f"likelier {_NO_MIDDLEWARE}", "the application has no middleware", "service"),
    Likely(
        "response-unproven",
        f"but {_NO_MIDDLEWARE}",
        "the application has no middleware, and an endpoint demands a scope",
        "service",
    ),
    Likely("response-unproven", _SEALED, "the service has the key file of another service", "service"),
    Likely("response-unproven", _SEALED, "the service still has the key file from before a rotation", "service"),
    Likely("response-unproven", _SEALED, "a key version was retired while tickets under it lived", "administrator"),
    Likely("response-unproven", "removed the Authorization", "a proxy removes the Authorization header", "proxy"),
    Likely("response-unproven", "not the body that the target", "a proxy rewrites the response's body", "proxy"),
    Likely("response-unproven", "cannot reach the service", "the service behind the proxy does not run", "service"),
    Likely(
        "wrong-binding",
        "received: GET https:",
        "the URL begins with http, and the service's origin with https",
        "caller, or the service's `origins`",
    ),
    Likely("wrong-binding", "received: GET http:", "a proxy takes a prefix off the path", "proxy"),
    Likely("wrong-binding", "received: GET http:", "a proxy normalises the path", "proxy"),
    Likely("clock-skew", "the target's clock", "the service's clock is half an hour behind", "service"),
    Likely("too-far-ahead", "the target's clock", "the service's clock is half an hour behind", "service"),
    Likely("not-granted", "", "the target's name is misspelt", "caller"),
    Likely("not-granted", "", "no rule lets this caller reach this target", "administrator"),
    Likely("insufficient-scope", "", "the caller lacks a scope", "administrator"),
)


def likely(error: OrthrosError) -> tuple[Likely, ...]:
    """The mistakes that the error looks like, likelier first; none that is known."""
    return tuple(one for one in LIKELY if one.code == error.code and one.words in error.detail)
