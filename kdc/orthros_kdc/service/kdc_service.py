"""The native port of one realm: one message in, one answer out.

Knows no streams and no exchange. Whatever a message says, the answer is a reply, a sealed error, or one opaque NAK
whose reference finds the reason in the audit log.
"""

from __future__ import annotations

from functools import partial

from orthros_kdc.ports.native_port import NativeAnswer
from orthros_kdc.realm.view import RealmView
from orthros_kdc.reasons import NO_ROOM
from orthros_kdc.service.as_exchange import AsExchange
from orthros_kdc.service.lookaside import LookasideCache
from orthros_kdc.service.native import NativeCase
from orthros_kdc.service.shell import Shell
from orthros_kdc.service.tgs_exchange import TgsExchange
from orthros_protocol.errors import Malformed, OrthrosError, Refused
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import AS_REQ, TGS_REQ, build_nak, parse_signed

__all__ = ["KdcService"]


class KdcService:
    """Answers AS and TGS requests of one realm."""

    def __init__(self, view: RealmView, shell: Shell) -> None:
        self._lookaside = lookaside = LookasideCache(shell, shell.clock(), shell.rates.monotonic)
        self._shell = shell
        self._exchanges = {
            AS_REQ: AsExchange(view, shell, lookaside).answer,
            TGS_REQ: TgsExchange(view, shell, lookaside).answer,
        }

    async def answer(self, message: bytes, source: str, address: str = "", connection: int = 0) -> NativeAnswer:
        """The answer to one message from `source` (see `native_port.py`). Never raises for what a peer does.

        `address` is the IP address of the peer, empty on a local socket: that lies outside every network.
        """
        make = partial(NativeCase, address=address, connection=connection, entropy=self._shell.entropy)
        return await self._shell.answer(source, len(message), make, partial(self._exchanged, message))

    async def _exchanged(self, message: bytes, case: NativeCase) -> NativeAnswer:
        signed = parse_signed(message)
        exchange = self._exchanges.get(signed.kind)
        if exchange is None:
            raise Malformed(f"messages of kind {signed.kind} are not served here")
        return await exchange(signed, case)

    def turn_away(self, source: str, cause: str) -> bytes:
        """The message for a connection from `source` that there is no room for."""
        return build_nak(self._shell.reject(Refused(NO_ROOM, cause), source))

    def reject(self, source: str, error: OrthrosError, size: int) -> None:
        """Counts `size` bytes from `source` that were no message, as a malformed message of that size counts."""
        self._shell.reject_bytes(source, error, size)

    def sum_up(self, at: Timestamp, *, all_of_them: bool = False) -> None:
        """Writes the summaries of refusals that are due; call it once a second, and with `all_of_them` at the end."""
        self._shell.sum_up(at, all_of_them=all_of_them)
