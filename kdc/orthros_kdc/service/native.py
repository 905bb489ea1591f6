"""A request on the native port: who sent it, and how it is refused: by an opaque NAK, or under seal once it is proven.

Shared by both exchanges; issues nothing and knows no streams.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from orthros_kdc.audit.events import Event
from orthros_kdc.policy.sources import source_allowed
from orthros_kdc.ports.native_port import NativeAnswer
from orthros_kdc.service.shell import Case, RateLimited, log_fault
from orthros_kdc.store.base import PrincipalRecord
from orthros_protocol.errors import Misconfigured, OrthrosError, Refused, Unavailable
from orthros_protocol.primitives.messages import build_nak
from orthros_protocol.primitives.sealing import ENTROPY_BYTES
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code

__all__ = ["NativeCase", "require_source"]


@define(eq=False, kw_only=True)
class NativeCase(Case[NativeAnswer]):
    """A message over the connection of this number, which no other connection has. `proves` is the principal whose
    connection this is, where the request proves that."""

    entropy: Callable[[int], bytes]
    connection: int
    proves: str = field(default="", init=False)
    _event: Callable[..., Event] | None = field(default=None, init=False)
    _seal: Callable[..., bytes] | None = field(default=None, init=False)

    def verified(self, client: str, event: Callable[..., Event], seal: Callable[..., bytes]) -> None:
        """`client` made the request. From here on `event` makes the events of refusals, and `seal` seals them."""
        self.client, self._event, self._seal = client, event, seal

    def refused(self, error: OrthrosError, ref: bytes) -> Event:
        """The event of its refusal."""
        if self._event is None or not self.client:
            return super().refused(error, ref)
        return self._event(code=error.code, detail=error.detail, ref=ref.hex())

    def refusal(self, error: OrthrosError, ref: bytes) -> NativeAnswer:
        """What the caller may learn: refusals as they are, troubles of the KDC only as such, and strangers nothing."""
        if self._seal is None or not self.client:
            if isinstance(error, (Misconfigured, Unavailable)):
                log_fault(error, ref)
            # A sender over its rate gets one answer and is disconnected: an answer costs more than a frame.
            return NativeAnswer(build_nak(ref), last=isinstance(error, RateLimited))
        code: Code | Reason
        if isinstance(error, Refused) and error.reason.number:
            code, detail, retry_s = error.reason, error.detail, getattr(error, "retry_s", 0)
        else:
            log_fault(error, ref)
            code, detail, retry_s = "kdc-fault", f"reference {ref.hex()}", 1
        sealed = self._seal(code, now=self.now, entropy=self.entropy(ENTROPY_BYTES), retry_s=retry_s, detail=detail)
        return NativeAnswer(sealed, self.proves)


def require_source(principal: PrincipalRecord, address: str) -> None:
    """A key that was copied to elsewhere is of no use there. Raises Refused `source-refused`."""
    if not source_allowed(principal.sources, address):
        raise Refused("source-refused")
