"""For tests of programs that use Orthros: a clock, predictable entropy, a replay store, a whole realm in memory.

Not secure and not fast: its keys come from a counter. Every message and check is real; only the policy is a table.
"""

from orthros_protocol.testing.fakes import CountingEntropy, ManualClock, ManualStore
from orthros_protocol.testing.pairs import PairTerms
from orthros_protocol.testing.realm import InMemoryRealm, IssuedTicket

__all__ = ["CountingEntropy", "InMemoryRealm", "IssuedTicket", "ManualClock", "ManualStore", "PairTerms"]
