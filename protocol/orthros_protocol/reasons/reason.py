"""What a reason for a refusal or failure is; knows none by name."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Reason"]


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
