"""Errors: a code, a cause and a remedy in every message a person can see."""

import pytest

from orthros_protocol.errors import (
    LocalMisuse,
    Malformed,
    Misconfigured,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    Unavailable,
)
from orthros_protocol.reasons.table import reason_for

FAMILIES = [LocalMisuse, Misconfigured, PeerMisbehaved, Refused, Unavailable]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_says_what_was_seen_why_and_what_to_do(family: type[OrthrosError]) -> None:
    error = family("value-invalid", "seen this")
    row = reason_for("value-invalid")
    assert (error.code, error.cause, error.remedy) == (row.name, row.cause, row.remedy)
    assert str(error) == f"value-invalid: {row.cause} (seen this) Remedy: {row.remedy}"
    assert str(family(row)) == f"value-invalid: {row.cause} Remedy: {row.remedy}"
    assert error.reply is None


def test_families_have_names_of_their_own() -> None:
    assert len({family.family for family in FAMILIES}) == len(FAMILIES)


def test_malformed_is_the_peers_fault() -> None:
    assert isinstance(Malformed("seen"), PeerMisbehaved)
    assert Malformed("seen").code == "malformed"


def test_a_refusal_carries_the_bytes_for_the_peer() -> None:
    assert Refused("busy", reply=b"sealed").reply == b"sealed"


def test_an_unknown_code_is_a_bug_here() -> None:
    with pytest.raises(KeyError):
        Refused("no-such-code")  # type: ignore[arg-type]  # mypy finds it, too


@pytest.mark.parity("B2")
def test_a_remedy_names_the_reference_that_the_detail_gives() -> None:
    """Also where an exception is printed by a program that knows nothing of Orthros."""
    error = PeerMisbehaved("unauthenticated-refusal", "kdc-a:7788: reference 0f3a5c7e9b1d2f40")
    assert "`orthros-admin explain 0f3a5c7e9b1d2f40`" in str(error)
    assert "explain REF" in PeerMisbehaved("unauthenticated-refusal", "no reference").remedy
    known = Refused("kdc-fault")
    known.ref = "00ff00ff00ff00ff"
    assert known.remedy.endswith("`orthros-admin explain 00ff00ff00ff00ff`.")


def test_a_row_is_told_with_names() -> None:
    row = reason_for("key-retired").filled(PRINCIPAL="orders")
    assert Refused(row).remedy == "Install the current key file (`orthros-admin key export orders`)."
    assert (row.name, row.number) == ("key-retired", 10)
