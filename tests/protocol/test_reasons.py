"""The table of reasons: complete, unique, and never re-numbered."""

import pytest

from orthros_protocol import REASONS, Reason, reason_by_number, reason_for

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


def test_names_are_unique() -> None:
    names = [reason.name for reason in REASONS]
    assert len(names) == len(set(names))


def test_wire_numbers_are_unique() -> None:
    numbers = [reason.number for reason in REASONS if reason.number]
    assert len(numbers) == len(set(numbers))


def test_published_numbers_keep_their_meaning() -> None:
    assert {number: reason_by_number(number).name for number in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
def test_every_reason_has_a_cause_and_a_remedy(reason: Reason) -> None:
    """A message a human sees says cause and remedy."""
    for sentence in (reason.cause, reason.remedy):
        assert sentence.endswith(".")
        assert sentence[0] == "`" or sentence[0].isupper()
        assert "  " not in sentence
    assert set(reason.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 0 <= reason.number <= 0xFFFF


def test_rows_are_found_by_name_and_number() -> None:
    for reason in REASONS:
        assert reason_for(reason.name) is reason
        if reason.number:
            assert reason_by_number(reason.number) is reason
    with pytest.raises(KeyError):
        reason_for("no-such-reason")


def test_a_number_of_a_newer_version_still_reads_well() -> None:
    newer = reason_by_number(999)
    assert newer.name == "code-999"
    assert "does not know" in newer.cause
    assert not newer.retry
    assert reason_by_number(0).name == "code-0"
