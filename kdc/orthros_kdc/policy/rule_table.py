"""What a row of the rule table is: all that is said about one condition of a rule, wherever rules are read or written.

The problem: a condition is written on a command line, in a realm file, in the database and in the audit log, read back
from three of them, shown as JSON, as a line and as a sentence, compared, explained, and judged. Said in each of these
places, a new condition was a change of thirteen files, and one forgotten place was a condition that one program kept
and another one lost.
The mechanism: a condition is one `Condition` in `conditions.py`, with its words and its form. In `rule.py` it is one
field of `Rule`, with its judge. Everything else walks `CONDITIONS` and knows no condition by its name. The store keeps
one value for all conditions of a rule (`store/rule_rows.py`), so a new condition needs no column and no migration.
Rejected: a mapping from words to values in place of the fields. The decision reads rules for every ticket and would
look up words, and no type checker would see a misspelt one.
What would break it: a condition without which a rule grants more. A rule only grants, and conditions only take away.
So a rule that this version does not understand whole is kept and shown, but grants nothing (`Rule.unusable`).

Knows the form of a row, not which rows there are.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

from attrs import field, frozen

from orthros_kdc.policy.rule_caveats import RequiredDischarge, RuleCaveat
from orthros_protocol.tickets.caveats import MethodsCaveat, PathCaveat, PeerCaveat

__all__ = ["ROW", "SHARED_FACT", "Condition", "ConditionShape"]

ROW: Final = "row"
"""Where a field of `Rule` holds its row."""
SHARED_FACT: Final = "conditions"
"""The field of the audit log in which conditions stand that have none of their own."""


class ConditionShape(Enum):
    """What a value is: each place reads and writes it in its own form."""

    SWITCH = auto()
    COUNT = auto()
    SECONDS = auto()
    TEXT = auto()
    TEXTS = auto()


@frozen(kw_only=True)
class Condition:
    """One row of the table.

    `key` is the condition's word in realm files, JSON and the store. `usual` is the value of a rule that does not
    mention it, and `read` makes the canonical value from what an admin wrote, or raises Misconfigured. `sample` is a
    value in a realm file; `option`, with the word for its value, and `help` are those of the command line.

    `text` is the value in a line about the rule and in the audit log, and `sentence` what it means; with `each` both
    are about one entry of a list. `fact` is its field in the audit log, which it may share, and `is_column` says that
    every list of rules has a column for it.

    `judge` names its judge in `rule.py`, if anything before the decision judges it, and `binds_own_calls` says that a
    call in the client's own name is judged, too. `writes` makes the caveat that the KDC writes into tickets. `names`
    gives whom an entry names, who must exist: `name`, `name@realm` or `group:name`. With `is_pattern`, an entry names
    one subject or many.
    `is_border`: a rule that is offered as a remedy keeps it, since no admin is told to tear down a border.
    """

    key: str
    shape: ConditionShape
    usual: Any = field()
    read: Callable[[Any], Any] | None = None
    sample: str
    option: str
    help: str
    text: Callable[[Any], str]
    sentence: Callable[[Any], str] | None = None
    each: bool = False
    fact: str = SHARED_FACT
    is_column: bool = False
    judge: str | None = None
    binds_own_calls: bool = field()
    writes: Callable[[Any], MethodsCaveat | PathCaveat | PeerCaveat | RequiredDischarge] | None = None
    names: Callable[[Any], str] | None = None
    is_border: bool = False
    is_pattern: bool = False
    attribute: str = field()
    """The field of `Rule`: the key, unless that is a word of Python."""

    @binds_own_calls.default
    def _binds_own_calls(self) -> bool:
        return self.judge is not None  # a row that forgets to say costs a look, and is never passed over

    @usual.default
    def _usual(self) -> object:
        return {ConditionShape.SWITCH: False, ConditionShape.TEXTS: ()}.get(self.shape)

    @attribute.default
    def _attribute(self) -> str:
        return self.key

    def as_field(self) -> Any:
        """The field of `Rule`."""
        return field(default=self.usual, converter=self.read, metadata={ROW: self})

    def of(self, rule: object) -> Any:
        """The value in `rule`."""
        return getattr(rule, self.attribute)

    def entries(self, rule: object) -> tuple[Any, ...]:
        """What `text`, `sentence` and `writes` are about."""
        value = getattr(rule, self.attribute)
        return tuple(value) if self.each else (value,)

    def texts(self, rule: object) -> tuple[str, ...]:
        """What `rule` says about it."""
        return tuple(map(self.text, self.entries(rule)))

    def caveats(self, rule: object) -> tuple[RuleCaveat, ...]:
        """What the KDC writes into the tickets of `rule` because of it."""
        write = self.writes
        return () if write is None else tuple(RuleCaveat(self.text(one), write(one)) for one in self.entries(rule))

    def plain(self, rule: object) -> Any:
        """The value as JSON and TOML have it."""
        value = getattr(rule, self.attribute)
        return list(map(str, value)) if self.shape is ConditionShape.TEXTS else value

    def command_line(self, rule: object) -> list[str]:
        """The options that make `rule` say it."""
        value, option = self.of(rule), self.option.partition(" ")[0]
        if self.shape is ConditionShape.SWITCH:
            return [option]
        return [f"{option} {one}" for one in (value if self.shape is ConditionShape.TEXTS else (value,))]
