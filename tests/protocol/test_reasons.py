"""The table of reasons: complete, unique, and never re-numbered."""

from typing import get_args

import pytest

from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.staying import STAYING, Staying
from orthros_protocol.reasons.table import reason_by_number, reason_for
from orthros_protocol.reasons.travelling import TRAVELLING, Travelling

# Published numbers. A line may be added; none may change or go, also when the reason is no longer used.
PUBLISHED = {
    10: "key-retired", 11: "principal-disabled", 12: "clock-skew", 13: "tgt-expired", 14: "rate-limited",
    15: "not-granted", 16: "target-unavailable", 17: "no-scope-left", 18: "subject-refused", 19: "chain-refused",
    20: "jwt-not-enabled", 21: "not-attempted", 22: "excluded-by-your-caveat", 23: "unsupported-critical",
    24: "exact-not-possible", 25: "revoked", 26: "unknown-service", 27: "kdc-fault", 28: "ticket-altered",
    40: "epoch-required", 41: "busy", 42: "replayed", 43: "ticket-expired", 44: "ticket-times-invalid",
    45: "wrong-binding", 46: "caveat-refused", 47: "caveat-unsupported", 48: "user-not-accepted",
    49: "insufficient-scope", 50: "discharge-mismatch", 51: "clock-unsafe", 52: "body-mismatch", 53: "not-covered",
    54: "vetoed", 55: "not-repeatable", 56: "too-far-ahead", 57: "quota",
}  # fmt: skip


@pytest.mark.parametrize(("codes", "rows"), [(Travelling, TRAVELLING), (Staying, STAYING)], ids=["travel", "stay"])
def test_the_type_of_codes_names_the_rows(codes: object, rows: tuple[Reason, ...]) -> None:
    """What mypy accepts as a code in quotes has a row, and the other way round."""
    assert [code for line in get_args(codes) for code in get_args(line)] == [row.name for row in rows]


def test_what_travels_has_a_number_and_what_stays_has_none() -> None:
    assert all(0 < row.number <= 0xFFFF for row in TRAVELLING)
    assert not any(row.number for row in STAYING)


def test_wire_numbers_are_unique() -> None:
    numbers = [reason.number for reason in TRAVELLING]
    assert len(numbers) == len(set(numbers))


def test_published_numbers_keep_their_meaning() -> None:
    assert {number: reason_by_number(number).name for number in PUBLISHED} == PUBLISHED


def test_rows_are_found_by_name_and_number() -> None:
    assert reason_for("tgt-expired") is reason_by_number(13)
    assert reason_for(STAYING[0]) is STAYING[0]
    with pytest.raises(KeyError):
        reason_for("no-such-reason")  # type: ignore[arg-type]  # mypy finds it, too


def test_a_number_of_a_newer_version_still_reads_well() -> None:
    newer = reason_by_number(999)
    assert newer.name == "code-999"
    assert "does not know" in newer.cause
    assert not newer.retry
    assert reason_by_number(0).name == "code-0"
