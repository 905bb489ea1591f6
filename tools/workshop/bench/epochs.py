"""What a first contact would be told: the epoch of a verifier's store, learnt outside of what is measured."""

from __future__ import annotations

import os
import time

from orthros_client import Verifier
from orthros_protocol.exchanges.replay import Entry
from orthros_protocol.primitives.instants import Timestamp

__all__ = ["epoch_of"]


def epoch_of(verifier: Verifier) -> bytes:
    """The 8 bytes. Burns a tag that no request has."""
    return verifier.store.admit(Entry(os.urandom(16), Timestamp(time.time_ns() // 1_000_000), "bench")).epoch
