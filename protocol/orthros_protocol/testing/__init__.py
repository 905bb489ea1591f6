"""For tests of programs that use Orthros: a clock, predictable entropy, a replay store, a whole realm in memory.

Not secure and not fast: its keys come from a counter. Every message and check is real. What is issued, a test says:
the realm decides nothing.
"""

from orthros_protocol.testing.fakes import CountingEntropy, ManualClock, ManualStore
from orthros_protocol.testing.realm import InMemoryRealm, IssuedTicket
from orthros_protocol.testing.terms import GrantTerms, Onward

__all__ = ["CountingEntropy", "GrantTerms", "InMemoryRealm", "IssuedTicket", "ManualClock", "ManualStore", "Onward"]
