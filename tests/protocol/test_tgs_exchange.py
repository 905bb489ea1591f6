"""The ticket-granting exchange, both halves."""

from typing import Any

import pytest
from attrs import evolve

from orthros_protocol import (
    EXACT,
    WANT_DELEGABLE,
    WANT_JWT,
    ExpiresCaveat,
    Granted,
    KdcRefusal,
    LocalMisuse,
    Malformed,
    Misconfigured,
    Note,
    NotGranted,
    OpenedTgt,
    PeerMisbehaved,
    Principal,
    Refused,
    Want,
    build_tgs_request,
    check_tgs_extensions,
    join_caveats,
    open_tgs_reply,
    open_tgt,
    parse_signed,
    parse_tgs_request,
    pop_key_of,
    reason_for,
    seal_tgs_error,
    seal_tgs_reply,
    tail_after,
    tail_of,
    verify_tgs_request,
)
from orthros_protocol.tgs_exchange import PendingTgs
from tests.support.exchange_pair import ExchangePair, principal
from tests.support.naive import enc, kd, mac, seal, sha256


class Asking:
    """A client with its TGT, and the KDC's view of the same TGT."""

    def __init__(self) -> None:
        self.pair = ExchangePair()
        self.login = self.pair.login()
        self.pop_key = pop_key_of(tail_of(self.login.session_key, self.login.ticket))

    def ask(self, *wants: Want, **changes: Any) -> PendingTgs:
        given: dict[str, Any] = {"now": self.pair.now, "nonce": b"n" * 16} | changes
        return build_tgs_request(self.login.ticket, self.pop_key, wants or (self.pair.want(),), **given)

    def opened(self, caveats: bytes = b"") -> OpenedTgt:
        realm = self.pair.realm
        return open_tgt(self.login.ticket, caveats, {realm.tgt_key.kid: realm.tgt_key}, {1: realm.mac_key})

    def request(self, **changes: Any) -> bytes:
        """A TGS-REQ of any content with a right MAC."""
        body: dict[str, Any] = {
            "version": 1, "kind": 2, "tgt": self.login.ticket, "caveats": b"", "dis": [], "ts": self.pair.now,
            "nonce": b"n" * 16, "wants": [[0, "test.realm", "payroll", None, 0, 0, []]], "behalf": None, "crit": [],
            "opt": [],
        } | changes  # fmt: skip
        encoded = enc(*body.values())
        return enc(encoded, mac(self.pop_key, "tgs-req", encoded))

    def reply(self, asked: PendingTgs, results: list[Any], **changes: Any) -> bytes:
        """A TGS-REP of any content, sealed as the KDC would."""
        body: dict[str, Any] = {
            "nonce": b"n" * 16, "time": self.pair.now, "kdc_id": "kdc-test", "seq": 1, "results": results, "opt": [],
        } | changes  # fmt: skip
        box = seal(kd(self.pop_key, "tgs-rep"), "tgs-rep", sha256(asked.message), enc(*body.values()), bytes(24))
        return enc(1, 0, box)


def granted(**changes: Any) -> list[Any]:
    row: dict[str, Any] = {
        "ok": 0, "realm": "test.realm", "name": "payroll", "uid": 17, "credential": b"t" * 40, "key": b"k" * 32,
        "ttl_s": 60, "flags": 0, "kvno": 1, "scopes": ["read"], "subject": None, "notes": [], "ext": [],
    } | changes  # fmt: skip
    return list(row.values())


def refused(**changes: Any) -> list[Any]:
    row: dict[str, Any] = {
        "no": 1, "realm": "test.realm", "name": "payroll", "code": 15, "retry_s": 0, "ref": b"r" * 8, "ext": [],
    } | changes  # fmt: skip
    return list(row.values())


def test_each_want_is_answered_in_its_place() -> None:
    pair = ExchangePair()
    reply = pair.obtain(
        pair.login(),
        pair.want(scopes=("read",), ttl_s=60),
        pair.want("orders"),
        pair.want(),
        Want(target=Principal("other.realm", "payroll")),
    )
    first, second, third, fourth = reply.results
    assert isinstance(first, Granted)
    assert isinstance(third, Granted)
    assert (first.scopes, first.ttl_s, first.target, first.target_uid) == (("read",), 60, principal("payroll"), 17)
    assert third.scopes == ("read", "write")
    for no in (second, fourth):
        assert isinstance(no, NotGranted)
        assert no.reason is reason_for("not-granted")
    assert (reply.kdc_id, reply.policy_seq, reply.kdc_time) == ("kdc-test", 1, pair.now)


def test_a_granted_ticket_works_at_its_target() -> None:
    pair = ExchangePair()
    result = pair.obtain(pair.login(), pair.want()).results[0]
    assert isinstance(result, Granted)
    issued = evolve(pair.issue(), ticket=result.credential, session_key=result.session_key or b"")
    accepted, _reply = pair.call(pair.request(issued))
    assert accepted.ticket.client == principal("billing")


def test_a_jwt_has_no_session_key() -> None:
    pair = ExchangePair()
    pair.realm.allow("billing", "payroll", "read", jwt=True)
    result = pair.obtain(pair.login(), pair.want(kind=WANT_JWT)).results[0]
    assert isinstance(result, Granted)
    assert result.session_key is None
    assert result.credential.startswith(b"jwt-for.payroll")


def test_credentials_do_not_print_themselves() -> None:
    asking = Asking()
    result = asking.pair.obtain(asking.login, asking.pair.want()).results[0]
    assert isinstance(result, Granted)
    shown = repr(result) + repr(asking.ask()) + repr(asking.opened())
    assert repr(result.session_key)[2:20] not in shown
    assert repr(asking.pop_key)[2:20] not in shown


def test_the_kdc_reads_what_was_asked() -> None:
    asking = Asking()
    wants = (
        asking.pair.want(scopes=("write", "read"), ttl_s=5, flags=EXACT | WANT_DELEGABLE),
        asking.pair.want(scopes=()),
        asking.pair.want(kind=WANT_JWT),
    )
    unverified = parse_tgs_request(parse_signed(asking.ask(*wants).message))
    check_tgs_extensions(unverified)
    request = verify_tgs_request(unverified, asking.opened())
    assert request.wants == wants
    assert request.wants[0].scopes == ("read", "write")
    assert request.replay_tag == unverified.signed.mac[:16]
    assert request.tgt.ticket.client == principal("billing")


def test_results_and_notes_come_back() -> None:
    asking = Asking()
    pair = asking.pair
    asked = asking.ask(pair.want(), pair.want("orders"))
    request = verify_tgs_request(parse_tgs_request(asked.message), asking.opened())
    results = (
        Granted(
            target=principal("payroll"), target_uid=17, credential=b"t" * 40, session_key=b"k" * 32, ttl_s=9, flags=2,
            kvno=4, scopes=("read",), notes=(Note(1, 1, 31), Note(2, 3)),
        ),
        NotGranted(target=principal("orders"), reason=reason_for("rate-limited"), retry_s=3, ref=b"r" * 8),
    )  # fmt: skip
    sealed = seal_tgs_reply(request, results, kdc_id="kdc-a", policy_seq=8, now=pair.now, entropy=bytes(24))
    assert open_tgs_reply(asked, sealed).results == results


def test_a_note_of_a_newer_kdc_does_not_spoil_the_reply() -> None:
    """Notes inform and never widen, so unknown values are shown, not refused."""
    asking = Asking()
    asked = asking.ask()
    opened = open_tgs_reply(asked, asking.reply(asked, [granted(notes=[[4, 7, None]])]))
    assert isinstance(opened.results[0], Granted)
    assert opened.results[0].notes == (Note(4, 7),)


def test_an_error_for_the_whole_request_is_sealed() -> None:
    asking = Asking()
    asked = asking.ask()
    request = verify_tgs_request(parse_tgs_request(asked.message), asking.opened())
    sealed = seal_tgs_error(request, "tgt-expired", now=asking.pair.now, entropy=bytes(24), retry_s=1, detail="late")
    with pytest.raises(KdcRefusal, match=r"tgt-expired.*late"):
        open_tgs_reply(asked, sealed)


def test_a_caveat_on_the_tgt_changes_the_key_of_everything() -> None:
    """The reply key derives from the tail, so a narrowed TGT works and only narrows."""
    asking = Asking()
    narrow = join_caveats([ExpiresCaveat(asking.pair.second + 60).to_bytes()])
    tail = tail_after(
        tail_of(asking.login.session_key, asking.login.ticket), [ExpiresCaveat(asking.pair.second + 60).to_bytes()]
    )
    asked = build_tgs_request(
        asking.login.ticket,
        pop_key_of(tail),
        [asking.pair.want()],
        now=asking.pair.now,
        nonce=b"n" * 16,
        caveats=narrow,
    )
    unverified = parse_tgs_request(asked.message)
    verify_tgs_request(unverified, asking.opened(narrow))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verify_tgs_request(unverified, asking.opened())
    with pytest.raises(Refused, match="caveat-unsupported"):
        check_tgs_extensions(unverified)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"crit": [[3, b""]]}, "unsupported-critical"),
        ({"dis": [b""]}, "discharge-mismatch"),
        ({"behalf": [b"e" * 40, b"", None]}, "subject-refused"),
        ({"behalf": [None, b"", ["test.realm", "alice", 0, 2]]}, "subject-refused"),
    ],
)
def test_what_this_version_does_not_serve_is_refused_under_seal(changes: dict[str, Any], code: str) -> None:
    asking = Asking()
    unverified = parse_tgs_request(asking.request(**changes))
    verify_tgs_request(unverified, asking.opened())
    with pytest.raises(Refused, match=code):
        check_tgs_extensions(unverified)


WANT = [0, "test.realm", "payroll", None, 0, 0, []]


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2}, {"kind": 1}, {"tgt": b""}, {"caveats": None}, {"dis": None}, {"dis": [b""] * 5}, {"ts": -1},
        {"nonce": b""}, {"wants": []}, {"wants": [WANT] * 33}, {"wants": [WANT[:-1]]}, {"wants": [[2, *WANT[1:]]]},
        {"wants": [[0, "Test", *WANT[2:]]]}, {"wants": [[*WANT[:3], ["b", "a"], 0, 0, []]]},
        {"wants": [[*WANT[:3], ["a", "a"], 0, 0, []]]},
        {"wants": [[*WANT[:3], [f"a{n:02}" for n in range(33)], 0, 0, []]]},
        {"wants": [[*WANT[:4], None, 0, []]]}, {"wants": [[False, *WANT[1:]]]}, {"behalf": [b"e" * 40, b""]},
        {"behalf": [None, None, None]}, {"crit": None}, {"more": 1},
    ],
)  # fmt: skip
def test_a_request_of_another_shape_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_tgs_request(Asking().request(**changes))


def test_a_tgt_of_another_realm_or_key_is_not_opened() -> None:
    asking = Asking()
    realm = asking.pair.realm
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        open_tgt(asking.login.ticket, b"", {}, {1: realm.mac_key})
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        open_tgt(asking.pair.issue().ticket, b"", {realm.tgt_key.kid: realm.tgt_key}, {1: realm.mac_key})


def test_a_wrong_mac_proves_nothing() -> None:
    asking = Asking()
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verify_tgs_request(parse_tgs_request(asking.request()[:-1] + b"\0"), asking.opened())


@pytest.mark.parametrize(
    "results",
    [
        [granted(name="orders")], [granted(realm="other.realm")], [refused(name="orders")], [granted(), granted()],
        [granted(key=None)],
    ],
)  # fmt: skip
def test_a_result_for_another_question_is_not_taken(results: list[Any]) -> None:
    """CVE-2017-11103: realm and target are repeated inside the box, and the client compares."""
    asking = Asking()
    asked = asking.ask()
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_tgs_reply(asked, asking.reply(asked, results))


def test_a_ticket_instead_of_a_jwt_is_not_taken() -> None:
    asking = Asking()
    asked = asking.ask(asking.pair.want(kind=WANT_JWT))
    with pytest.raises(PeerMisbehaved, match="another kind"):
        open_tgs_reply(asked, asking.reply(asked, [granted()]))


def test_another_nonce_is_not_taken() -> None:
    asking = Asking()
    asked = asking.ask()
    with pytest.raises(PeerMisbehaved, match="another request"):
        open_tgs_reply(asked, asking.reply(asked, [granted()], nonce=b"N" * 16))


@pytest.mark.parametrize(
    "results",
    [
        [], [[]], [granted(ok=2)], [granted(ok=False)], [granted()[:-1]], [refused(ref=b"")], [refused(no=0)],
        [granted(scopes=None)], [granted(scopes=["b", "a"])], [granted(notes=[[0, 1, None]])],
        [granted(notes=[[1, 1, 32]])], [granted(subject=[1])], [granted()] * 33, [None],
    ],
)  # fmt: skip
def test_a_reply_of_another_shape_is_malformed(results: list[Any]) -> None:
    asking = Asking()
    asked = asking.ask()
    with pytest.raises(Malformed):
        open_tgs_reply(asked, asking.reply(asked, results))


@pytest.mark.parametrize("count", [0, 33])
def test_a_request_has_1_to_32_wants(count: int) -> None:
    asking = Asking()
    with pytest.raises(LocalMisuse, match="wants"):
        build_tgs_request(
            asking.login.ticket, asking.pop_key, [asking.pair.want()] * count, now=asking.pair.now, nonce=b"n" * 16
        )


def test_a_want_checks_its_scopes() -> None:
    with pytest.raises(Misconfigured, match="scope-invalid"):
        Want(target=principal("payroll"), scopes=("Read",))
    with pytest.raises(LocalMisuse):
        Asking().ask(Want(target=principal("payroll"), kind=7))
