"""What is said over the local socket holds secrets, and shows none."""

from __future__ import annotations

import pickle

import pytest

from orthros_client.local.api.want_messages import BehalfItems, LocalRequest
from orthros_protocol.errors import LocalMisuse

PROOF = b"proof of somebody who opened it."


def test_a_proof_is_neither_shown_nor_pickled() -> None:
    items = BehalfItems(evidence=bytes(16), proof=PROOF)
    assert "proof of" not in repr(items)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(items)


def test_the_body_of_a_message_is_not_shown() -> None:
    """It holds what the message is about: proofs, tails, logins."""
    assert "proof of" not in repr(LocalRequest(op=1, body=PROOF))
