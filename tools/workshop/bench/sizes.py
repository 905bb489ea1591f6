"""How large a call chain makes a request: our header beside nested JWTs, depth by depth.

Everything is built and accepted for real. Characters and bytes, not time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from base64 import urlsafe_b64encode

import jwt
from attrs import frozen

from orthros_client.verifier import Verifier
from orthros_protocol.exchanges.ap_exchange import USE_RAW, ApRequest, sign_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.testing import InMemoryRealm, ManualClock
from orthros_protocol.tickets.ticket import BY_EVIDENCE, Hop, Subject
from workshop.bench.epochs import epoch_of

__all__ = ["render_sizes"]

PUBLISHED = (529, 1163, 1903, 2965, 4288, 6105, 8528, 11759)
"""Bytes of an uncompressed token at depths 1 to 8 in the published table of the nested-JWT pattern."""
_REALM = "corp"
_HEADER = 'Orthros v=1, h="", r=""'
_ENDPOINT = "chain/measure"
_SECRET = b"a secret of thirty-two bytes !!!"


@frozen(kw_only=True)
class ChainSize:
    """One depth: our AP-REQ in bytes and as the header's value in characters, and both kinds of nested JWT."""

    depth: int
    raw: int
    header: int
    nested: int
    published: int


def measure_sizes(stem: str = "service-") -> list[ChainSize]:
    """Depths 1 to 8. A request at depth n was handed on n times; names are `stem` and a letter, the realm has four."""
    now = Timestamp(time.time_ns() // 1_000_000)
    realm = InMemoryRealm(_REALM, clock=ManualClock(now))
    client, server = f"{stem}z", f"{stem}t"
    realm.add(client)
    target = realm.add(server)
    verifier = Verifier(target.verify_only())
    epoch = epoch_of(verifier)
    names = [f"{stem}{letter}" for letter in "abcdefgh"]
    sizes, nested = [], _first_token(names[0], now)
    for depth in range(1, 9):
        chain = [Hop(Principal(_REALM, name), now // 1000) for name in names[:depth]]
        subject = Subject(chain[0].principal, 16, BY_EVIDENCE)
        issued = realm.issue(client, server, scopes=("read",), chain=chain, subject=subject)
        asked = ApRequest(
            use=USE_RAW, ticket=issued.ticket, bind=bind_raw(_ENDPOINT), ts=now, nonce=os.urandom(16), epoch=epoch
        )
        request = sign_ap_request(asked, issued.pop_key).message
        caller = verifier.accept(request, _ENDPOINT, accept_user=True)
        if len(caller.chain) != depth:
            raise RuntimeError(f"a chain of {len(caller.chain)} was accepted for one of {depth}")
        nested = _around(nested, names[depth] if depth < len(names) else client, depth, now)
        encoded = urlsafe_b64encode(request).rstrip(b"=")
        sizes.append(
            ChainSize(
                depth=depth, raw=len(request), header=len(_HEADER) + len(encoded), nested=len(nested),
                published=PUBLISHED[depth - 1],
            )
        )  # fmt: skip
    return sizes


def _first_token(name: str, now: int) -> str:
    return jwt.encode(_claims(name, now), _SECRET, "HS256")


def _claims(name: str, now: int) -> dict[str, object]:
    return {"sub": f"{name}@{_REALM}", "scope": "read", "iat": now // 1000, "exp": now // 1000 + 300}


def _around(token: str, name: str, depth: int, now: int) -> str:
    """One more layer of the nested form, with the same facts that our chain carries and nothing else."""
    stack = {
        "fmt": "jwt",
        "hash": hmac.digest(_SECRET, token.encode("ascii"), hashlib.sha256).hex(),
        "sid": name,
        "depth": depth,
        "container": token,
    }
    return jwt.encode({**_claims(name, now), "auth_stack": stack}, _SECRET, "HS256")


def render_sizes() -> str:
    """The table for names of nine characters, how much one hop adds, and the end of that for names of five."""
    sizes, short = measure_sizes(), measure_sizes("svc-")
    lines = ["depth  AP-REQ  base64url  header  nested JWT, this run  nested JWT, published"]
    for one in sizes:
        base64 = len(urlsafe_b64encode(bytes(one.raw)).rstrip(b"="))
        lines.append(f"{one.depth:5}  {one.raw:6}  {base64:9}  {one.header:6}  {one.nested:20}  {one.published:21}")
    per_hop = (sizes[-1].raw - sizes[0].raw) / (len(sizes) - 1)
    lines.append(f"bytes per hop: {per_hop:.1f} (goal <= 45); header at depth 8: {sizes[-1].header} (goal <= 700)")
    lines.append(
        f"the same with names of five characters: header {short[-1].header}, nested JWT {short[-1].nested} at depth 8"
    )
    return "\n".join(lines)
