"""Looking at what Orthros writes: tickets, requests, headers, hand-overs, files and JWTs, with or without a key.

For people who find out what they have in hand. Grants nothing, believes nothing, and shows no secret.
"""

from orthros_client.inspection.findings import Eye, Finding, Moment
from orthros_client.inspection.recognising import inspect

__all__ = ["Eye", "Finding", "Moment", "inspect"]
