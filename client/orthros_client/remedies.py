"""Remedies that can be pasted: names in the place of the placeholders, as far as the asking side knows them.

Knows what was asked for whom; neither the KDC nor its rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve, frozen

from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.reason import Reason, fill_remedy

__all__ = ["Asked", "name_within", "scope_remedy"]

_EXPLAIN: Final = "policy explain CLIENT TARGET"
_ELSE: Final = " Else "
_PLACEHOLDERS: Final = " --behalf NAME --via CALLER"
# What a rule for this subject or path would change.
_BY_RULE: Final = frozenset({"not-granted", "no-scope-left", "subject-refused", "chain-refused"})


@frozen(kw_only=True)
class Asked:
    """What a ticket was asked for, in the names of policy; None and empty: not known here.

    `subject` is in whose name; `asserted` says that it is the client's own word for it, `path` through whom the call
    came that the client serves, oldest first. `on_behalf` is also true of evidence that nothing else is known of.
    """

    target: str
    client: str | None = None
    subject: str | None = None
    asserted: bool = False
    path: tuple[str, ...] = ()
    on_behalf: bool = False

    def complete(self, reason: Reason) -> str:
        """The remedy of `reason` for this question; on behalf of others it names the command that explains it."""
        remedy, who = reason.remedy, self._options
        if who:
            remedy = remedy.replace(_EXPLAIN + _PLACEHOLDERS, _EXPLAIN).replace(_EXPLAIN, _EXPLAIN + who)
            if _EXPLAIN not in remedy and reason.name in _BY_RULE:
                remedy += f" `orthros-admin {_EXPLAIN}{who}` says what is missing."
        names = {"TARGET": self.target}
        if self.client is not None:
            names |= {"CLIENT": self.client, "PRINCIPAL": self.client}
        if self.subject is not None:
            names["NAME"] = self.subject
        return fill_remedy(remedy, names)

    @property
    def _options(self) -> str:
        if self.subject is None:
            return ""
        how = "subject" if self.asserted else "behalf"
        return f" --{how} {self.subject}" + "".join(f" --via {name}" for name in self.path)


def scope_remedy(reason: Reason, asked: Asked, scopes: Sequence[str], beginning: str = "") -> str:
    """The remedy of `insufficient-scope` with the names of a call; `scopes` are those that it lacked, empty: not known.

    `beginning` replaces what the table says of the likelier cause, a rule that was changed a moment ago.
    """
    usual, _else, commands = reason.remedy.partition(_ELSE)
    options = "".join(f" --scope {scope}" for scope in scopes or ("SCOPE",))
    if asked.subject is not None:
        options += f" --{'subject' if asked.asserted else 'behalf'} NAME"
    commands = commands.replace(" --scope SCOPE", options)
    return asked.complete(evolve(reason, remedy=f"{beginning or usual + _ELSE.rstrip()} {commands}"))


def name_within(principal: Principal, realm: str | None) -> str:
    """`name` for a principal of `realm`, else `name@realm`."""
    return principal.name if principal.realm == realm else str(principal)
