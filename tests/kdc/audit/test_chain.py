import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.audit.chain import Head, Problem, append, genesis, peek, verify
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.derivation import checksum
from tests.kdc.audit.chains import WRITER, anchor_at, chain_of, head_at, split

LINES = chain_of(6)


def check(lines, anchor=None, **extra):
    return verify(lines, writer=WRITER, anchor=anchor, **extra)


def found(lines, anchor=None):
    report = check(lines, anchor)
    return report.problem, report.line


@pytest.mark.parity("K16")
def test_a_line_is_compact_json_with_sorted_keys_that_ends_with_its_hash() -> None:
    """Verifiable with a JSON parser and SHA-256, by anybody, offline."""
    line, head = append(genesis(WRITER), {"event": "x", "at": 5, "b": ["ü"]})
    entry = json.loads(line)
    assert list(entry) == [*sorted(set(entry) - {"hash"}), "hash"]
    body = line[: line.rindex(b',"hash"')] + b"}"
    assert entry["hash"] == head.hash == checksum(body)
    assert (entry["seq"], entry["prev"]) == (1, genesis(WRITER).hash)
    assert line.isascii()
    assert b": " not in line
    assert line.endswith(b"}\n")
    assert head == Head(1, entry["hash"])


@pytest.mark.parity("K16")
def test_an_intact_chain() -> None:
    """With an anchor, without one, and with entries behind it."""
    assert check([]).head == genesis(WRITER)
    for anchor, unanchored in ((None, 6), (anchor_at(LINES[5]), 0), (anchor_at(LINES[2]), 3)):
        report = check(LINES, anchor)
        assert (report.problem, report.broken, report.unanchored) == (None, False, unanchored)
        assert report.head.seq == 6
    assert str(check(LINES, anchor_at(LINES[2]))) == "kdc-1: intact, 6 entries, 3 behind the anchor"


@pytest.mark.parity("K16")
@pytest.mark.parametrize("mask", [1, 0x20, 0x80])
def test_every_single_changed_byte_is_found_and_located(mask: int) -> None:
    """All bytes of all lines."""
    lines = chain_of(3)
    content = b"".join(lines)
    ends = [len(b"".join(lines[: at + 1])) for at in range(len(lines))]
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= mask
        problem, line = found(split(bytes(changed)), anchor_at(lines[-1]))
        assert problem in (Problem.EDITED, Problem.TRUNCATED), position
        assert line == 1 + sum(end <= position for end in ends)


@pytest.mark.parity("K16")
@given(st.integers(1, 8), st.data())
def test_any_other_byte_anywhere_is_found(count: int, data: st.DataObject) -> None:
    """Whatever it is changed to, also without an anchor."""
    lines = chain_of(count, text=data.draw(st.text(max_size=20)))
    at = data.draw(st.integers(0, count - 1))
    position = data.draw(st.integers(0, len(lines[at]) - 1))
    old = lines[at][position]
    new = data.draw(st.integers(0, 255).filter(lambda byte: byte != old))
    lines[at] = lines[at][:position] + bytes([new]) + lines[at][position + 1 :]
    problem, line = found(split(b"".join(lines)))
    assert problem is not None
    assert line == at + 1


@pytest.mark.parity("K16")
def test_a_removed_line_is_not_an_edited_one() -> None:
    """What happened is told apart."""
    assert found(LINES[:2] + LINES[3:]) == (Problem.REMOVED, 3)
    assert found(LINES[1:]) == (Problem.REMOVED, 1)
    report = check(LINES[:1] + LINES[4:])
    assert report.detail == "the entries 2 to 4 are gone"


@pytest.mark.parity("K16")
def test_reordered_and_repeated_lines() -> None:
    swapped = [LINES[0], LINES[2], LINES[1], *LINES[3:]]
    assert found(swapped) == (Problem.REORDERED, 2)
    assert found([*LINES[:3], LINES[1], *LINES[3:]]) == (Problem.REORDERED, 4)
    assert found([LINES[0], LINES[0]]) == (Problem.REORDERED, 2)


@pytest.mark.parity("K16")
def test_only_the_anchor_shows_that_the_end_was_cut() -> None:
    """The reason for anchors."""
    assert found(LINES[:4]) == (None, None)
    assert found(LINES[:4], anchor_at(LINES[5])) == (Problem.TRUNCATED, 5)
    assert found([], anchor_at(LINES[5])) == (Problem.TRUNCATED, 1)
    assert found(LINES[:4], anchor_at(LINES[3])) == (None, None)


@pytest.mark.parity("K16")
def test_a_chain_that_was_made_anew_does_not_meet_its_anchor() -> None:
    """Every hash right, and still found."""
    forged = chain_of(6, forged=1)
    assert found(forged) == (None, None)
    assert found(forged, anchor_at(LINES[3])) == (Problem.REMADE, 4)


@pytest.mark.parity("K16")
def test_a_line_made_anew_breaks_the_link_to_the_next() -> None:
    """With its own hash right."""
    head = Head(2, head_at(LINES[1]).hash)
    forged, _ = append(head, {"event": "forged"})
    assert found([*LINES[:2], forged, *LINES[3:]]) == (Problem.EDITED, 3)


@pytest.mark.parity("K16")
def test_a_half_written_last_line_is_a_crash_and_no_attack() -> None:
    """Unless the anchor had seen it whole."""
    for cut in (1, 20, len(LINES[5]) - 1):
        torn = [*LINES[:5], LINES[5][:cut]]
        report = check(torn, anchor_at(LINES[4]))
        assert (report.problem, report.line, report.broken) == (Problem.HALF_WRITTEN, 6, False)
        assert report.head.seq == 5
        assert found(torn, anchor_at(LINES[5])) == (Problem.TRUNCATED, 6)


@pytest.mark.parity("K16")
def test_one_writers_chain_cannot_stand_in_for_another_s() -> None:
    """The first line names the writer through its prev."""
    assert found(chain_of(3, writer="kdc-2")) == (Problem.EDITED, 1)


@pytest.mark.parity("K16")
@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"seq":true,"prev":""}', b'{"seq":"1","prev":""}', b'{"seq":1}', b"{\xff}"]
)
def test_a_line_with_a_right_hash_and_nonsense_inside_is_refused(body: bytes) -> None:
    """A parser error is an answer, not a crash."""
    line = body[:-1] + b',"hash":"' + checksum(body).encode() + b'"}\n'
    assert peek(line) is None
    assert found([line]) == (Problem.EDITED, 1)


@pytest.mark.parity("K16")
def test_checking_can_start_in_the_middle() -> None:
    """The anchored hash vouches for all that is above it."""
    start = head_at(LINES[2])
    report = check(LINES[3:], anchor_at(LINES[4]), start=start)
    assert (report.problem, report.head.seq, report.unanchored) == (None, 6, 1)
    assert check(LINES[4:], start=start).problem is Problem.REMOVED


@pytest.mark.parametrize("name", ["seq", "prev", "hash"])
def test_the_chain_s_own_fields_are_its_own(name: str) -> None:
    with pytest.raises(LocalMisuse):
        append(genesis(WRITER), {name: 1})
