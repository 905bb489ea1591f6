import pytest

from orthros_protocol.tickets.notes import Note, NoteCause, NoteField, describe_note


@pytest.mark.parity("B3")
def test_numbers_on_the_wire_never_change() -> None:
    """The values are part of the protocol."""
    assert {one.name: int(one) for one in NoteField} == {"SCOPE": 1, "TTL": 2, "FLAG": 3}
    assert {one.name: int(one) for one in NoteCause} == {
        "PAIR_RULE": 1,
        "PRINCIPAL_CAP": 2,
        "REALM_CAP": 3,
        "TGT_EXPIRY": 4,
        "TGT_CAVEAT": 5,
        "SUBJECT_RULE": 6,
        "RULE_CAVEAT": 7,
    }


@pytest.mark.parity("B3")
def test_a_dropped_scope_is_named_in_the_sentence() -> None:
    """The caller reads which scope was dropped, and why."""
    note = Note(NoteField.SCOPE, NoteCause.PAIR_RULE, 1)
    assert describe_note(note, ["read", "write"]) == (
        "Scope write was not granted: the rules for this pair do not allow it."
    )
    assert describe_note(note) == "A scope was not granted: the rules for this pair do not allow it."
    assert describe_note(note, ["read"]) == describe_note(note)


@pytest.mark.parity("B3", "K17")
def test_every_field_and_cause_has_its_words() -> None:
    """No combination renders as a bare number."""
    sentences = {describe_note(Note(field, cause)) for field in NoteField for cause in NoteCause}
    assert len(sentences) == len(NoteField) * len(NoteCause)
    assert not any("does not know" in sentence for sentence in sentences)


@pytest.mark.parity("B3")
def test_a_note_of_a_newer_peer_is_still_readable() -> None:
    """Unknown numbers are shown, not refused: notes never widen anything."""
    assert describe_note(Note(9, 99)) == (
        "Item 9 of the request was cut: for cause 99, which this version does not know."
    )


def test_items_are_plain_integers() -> None:
    """The encoding accepts exactly int, so an enum member must not slip in."""
    items = Note(NoteField.SCOPE, NoteCause.REALM_CAP, 3).to_items()
    assert items == [1, 3, 3]
    assert [type(item) for item in items] == [int, int, int]
    assert Note(NoteField.TTL, NoteCause.TGT_EXPIRY).to_items() == [2, 4, None]
