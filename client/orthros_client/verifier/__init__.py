"""Verifies callers offline with the service's own key: no network, no daemon, any concurrency style."""

from orthros_client.verifier.verified import VerifiedCaller
from orthros_client.verifier.verifier import Verifier
from orthros_protocol.tickets.call_chain import ChainRule

__all__ = ["ChainRule", "VerifiedCaller", "Verifier"]
