import pytest

from orthros_kdc.audit import Follower, find_ref, tail, verify_all
from orthros_kdc.audit.chain import append, genesis
from orthros_kdc.audit.reader import UNREADABLE
from orthros_protocol.errors import Misconfigured
from tests.kdc.audit.chains import anchor_at


def write(directory, writer, *entries):
    head, content = genesis(writer), []
    for entry in entries:
        line, head = append(head, entry)
        content.append(line)
    (directory / f"{writer}.jsonl").write_bytes(b"".join(content))
    return content


@pytest.fixture
def directory(tmp_path):
    write(tmp_path, "kdc-1", *({"event": "a", "at": 10 * n} for n in range(5)))
    write(tmp_path, "kdc-2", {"event": "b", "at": 15}, {"event": "b", "at": 35, "ref": "00ff00ff00ff00ff"})
    return tmp_path


def seen(entries):
    return [(one.at, one.writer, one.seq) for one in entries]


@pytest.mark.parity("K17")
def test_the_newest_entries_of_all_writers_by_time(directory) -> None:
    """One view over every KDC and admin."""
    assert seen(tail(directory, 4)) == [(20, "kdc-1", 3), (30, "kdc-1", 4), (35, "kdc-2", 2), (40, "kdc-1", 5)]
    assert len(tail(directory, 100)) == 7
    assert tail(directory, 0) == []
    assert tail(directory, 1)[0].event == "a"


def test_the_tail_of_a_long_log(tmp_path) -> None:
    write(tmp_path, "kdc-1", *({"event": "a", "at": n, "padding": "x" * 500} for n in range(1000)))
    assert [one.at for one in tail(tmp_path, 300)] == list(range(700, 1000))


@pytest.mark.parity("K17")
def test_following_hands_out_each_entry_once(directory) -> None:
    """New files and lines that are not finished yet included."""
    follower = Follower(directory)
    assert follower.poll() == []
    line = append(genesis("kdc-3"), {"event": "c", "at": 50})[0]
    file = directory / "kdc-3.jsonl"
    file.write_bytes(line[:40])
    assert follower.poll() == []
    file.write_bytes(line)
    assert seen(follower.poll()) == [(50, "kdc-3", 1)]
    assert follower.poll() == []


def test_following_starts_behind_a_line_that_is_being_written(directory) -> None:
    file = directory / "kdc-3.jsonl"
    line = append(genesis("kdc-3"), {"event": "c", "at": 50})[0]
    file.write_bytes(line[:40])
    follower = Follower(directory)
    file.write_bytes(line)
    assert seen(follower.poll()) == [(50, "kdc-3", 1)]


def test_a_log_that_was_cut_is_followed_from_its_beginning(directory) -> None:
    follower = Follower(directory)
    write(directory, "kdc-1", {"event": "new", "at": 99})
    assert seen(follower.poll()) == [(99, "kdc-1", 1)]


@pytest.mark.parity("B2")
def test_a_reference_leads_to_its_entry(directory) -> None:
    """The opaque id that a caller was given."""
    entry = find_ref(directory, " 00FF00FF00FF00FF\n")
    assert entry is not None
    assert (entry.writer, entry.seq) == ("kdc-2", 2)
    assert find_ref(directory, "11ff00ff00ff00ff") is None
    assert find_ref(directory, "") is None


@pytest.mark.parity("K16")
def test_everything_is_verified_and_every_anchor_accounted_for(directory) -> None:
    """Also a log that is not there any more."""
    lines = (directory / "kdc-2.jsonl").read_bytes().splitlines(keepends=True)
    reports = verify_all(directory, [anchor_at(lines[1], "kdc-2"), anchor_at(lines[1], "kdc-9")])
    assert [str(report) for report in reports] == [
        "kdc-1: line 1: unknown-writer: the database knows no writer of this name: no KDC of this realm has written"
        " this, 5 behind the anchor",
        "kdc-2: intact, 2 entries",
        "kdc-9: line 1: missing: there is no kdc-9.*.jsonl; the database has seen 2 lines",
    ]
    assert [report.broken for report in reports] == [True, False, True]


@pytest.mark.parity("K16")
def test_a_line_that_does_not_agree_with_itself_is_shown_as_such(directory) -> None:
    """Never as an entry."""
    file = directory / "kdc-2.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"at":35', b'"at":36'))
    assert [one.event for one in tail(directory, 100) if one.writer == "kdc-2"] == ["b", UNREADABLE]
    assert find_ref(directory, "00ff00ff00ff00ff") is None
    (report,) = [one for one in verify_all(directory, []) if one.writer == "kdc-2"]
    assert (report.problem, report.line) == ("edited", 2)


def test_other_files_are_not_logs(directory) -> None:
    (directory / "kdc-1.6.0.torn").write_bytes(b"x")
    assert len(verify_all(directory, [])) == 2


@pytest.mark.parity("K17")
def test_a_directory_or_file_that_cannot_be_read_is_named(directory, tmp_path) -> None:
    with pytest.raises(Misconfigured, match=r"file-unreadable.*none"):
        tail(tmp_path / "none", 5)
    (directory / "link.jsonl").symlink_to(directory / "kdc-1.jsonl")
    with pytest.raises(Misconfigured, match=r"file-unreadable.*link"):
        tail(directory, 5)
