"""The service's own kinds of caveats: whatever a rule of the service breaks, the request is refused.

Knows names and outcomes, not what the rules mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import structlog

from orthros_protocol.errors import LocalMisuse, Refused
from orthros_protocol.tickets.access import Access, AppRule
from orthros_protocol.tickets.caveats import is_app_name
from orthros_runtime.log_throttle import LogThrottle

__all__ = ["guarded"]

_log = structlog.get_logger("orthros.verifier")
_NONE: Final[Mapping[str, AppRule]] = MappingProxyType({})


def guarded(rules: Mapping[str, AppRule] | None) -> Mapping[str, AppRule]:
    """`rules` so that each answers with an objection or None, and refuses where it fails.

    Raises LocalMisuse for a name that is not `namespace/name`, or a rule that cannot be called.
    """
    if not rules:
        return _NONE
    for name, rule in rules.items():
        if not is_app_name(name) or not callable(rule):
            raise LocalMisuse("value-invalid", f"app caveat {name[:80]!a}: namespace/name, and a function")
    return MappingProxyType({name: _Guarded(name, rule) for name, rule in rules.items()})


class _Guarded:
    __slots__ = ("_name", "_rule", "_throttle")

    def __init__(self, name: str, rule: AppRule) -> None:
        self._name = name
        self._rule = rule
        self._throttle = LogThrottle()  # who holds such a caveat can have it fail at will

    def __call__(self, payload: bytes, access: Access) -> str | None:
        """The rule's objection. What the caller learns of a failure is that there was one."""
        try:
            objection = self._rule(payload, access)
        except Exception as error:  # the service's own function: what it breaks stays closed
            if type(error) is Refused:
                raise  # the service's own verdict, with its own code; not what a KDC or target said to the service
            return self._failed(type(error).__name__)
        # True or False would be read in either sense: only None lets a request pass.
        if objection is not None and type(objection) is not str:
            return self._failed(f"it returned a {type(objection).__name__}")
        return objection

    def _failed(self, code: str) -> str:
        self._throttle.write(_log.error, "caveat-rule-failed", {"caveat": self._name, "error": code})
        return f"this service could not judge the caveat {self._name}"
