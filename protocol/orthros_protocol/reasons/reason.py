"""What a reason for a refusal or failure is; knows none by name."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

__all__ = ["Reason", "fill_remedy"]


@frozen
class Reason:
    """One row of a table of reasons.

    `number` is what travels in sealed or MACed errors; 0: it never travels. `retry` says whether the same request,
    made afresh, can succeed without a change by a person.
    """

    number: int
    name: str
    cause: str
    remedy: str
    retry: bool = False

    def filled(self, **names: str) -> Reason:
        """The row with `names` in the place of the placeholders of its remedy, such as PRINCIPAL."""
        return evolve(self, remedy=fill_remedy(self.remedy, names))


def fill_remedy(remedy: str, names: Mapping[str, str]) -> str:
    """The remedy with `names` in the place of its placeholders (CLIENT, TARGET, PRINCIPAL, NAME, REF)."""
    for placeholder, name in names.items():
        remedy = remedy.replace(placeholder, name)
    return remedy
