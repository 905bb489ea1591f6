"""The ticket-granting exchange, both halves."""

import pickle
from typing import Any

import pytest
from attrs import evolve

from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured, PeerMisbehaved, Refused
from orthros_protocol.exchanges.tgs_exchange import (
    OpenedTgt,
    PendingTgs,
    UnverifiedTgsRequest,
    build_tgs_request,
    check_tgs_extensions,
    open_tgs_reply,
    open_tgt,
    parse_tgs_request,
    seal_tgs_error,
    seal_tgs_reply,
    verify_tgs_request,
)
from orthros_protocol.exchanges.wants import EXACT, WANT_DELEGABLE, WANT_JWT, Granted, NotGranted, Want, read_wants
from orthros_protocol.primitives.messages import KdcRefusal, parse_signed
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.table import reason_for
from orthros_protocol.tickets.attenuation import join_caveats, pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.caveats import ExpiresCaveat, MethodsCaveat, ScopesCaveat
from orthros_protocol.tickets.evidence import Behalf, OpenedEvidence, evidence_proof, open_evidence
from orthros_protocol.tickets.notes import Note
from orthros_protocol.tickets.ticket import BY_ASSERTION, BY_EVIDENCE, DELEGABLE, Subject
from tests.support.exchange_pair import ExchangePair, principal
from tests.support.naive import dec, enc, kd, mac, seal, sha256

WANT = [0, "test.realm", "payroll", None, 0, 0, []]


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
            "nonce": b"n" * 16, "wants": enc(WANT), "behalf": None, "crit": [],
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


@pytest.mark.parametrize(
    ("wants", "told"),
    [
        ([], "wants"), ([WANT] * 33, "wants"), ([WANT[:-1]], "want 0"), ([WANT, [2, *WANT[1:]]], "want 1: kind"),
        ([[0, "Test", *WANT[2:]]], "want 0: realm"), ([[*WANT[:3], ["b", "a"], 0, 0, []]], "want 0: scopes"),
        ([[*WANT[:3], [f"a{n:02}" for n in range(33)], 0, 0, []]], "want 0: scopes"),
        ([[*WANT[:4], None, 0, []]], "want 0: ttl_s"), ([[*WANT[:6], [[1, b"x"]]]], "want 0: limits"),
        ([[False, *WANT[1:]]], "wants"),
    ],
)  # fmt: skip
def test_wants_are_read_when_their_sender_has_proven_itself(wants: list[Any], told: str) -> None:
    """A stranger's 5 kB full of wants took the KDC 1.9 ms to read; their maker got no word of what was wrong."""
    asking = Asking()
    field = enc(*wants)
    unverified = parse_tgs_request(asking.request(wants=field))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verify_tgs_request(parse_tgs_request(asking.request(wants=field)[:-1] + b"\0"), asking.opened())
    request = verify_tgs_request(unverified, asking.opened())
    with pytest.raises(Refused) as caught:
        read_wants(request.wants)
    assert (caught.value.code, caught.value.detail) == ("want-invalid", told)


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
    assert (reply.kdc_id, reply.policy_seq, reply.kdc_time) == ("kdc-test", pair.realm.policy_seq, pair.now)


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
    assert read_wants(request.wants) == wants
    assert read_wants(request.wants)[0].scopes == ("read", "write")
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
    until = ExpiresCaveat(asking.pair.second + 60).to_bytes()
    narrow = join_caveats([until])
    tail = tail_after(tail_of(asking.login.session_key, asking.login.ticket), [until])
    asked = build_tgs_request(
        asking.login.ticket,
        pop_key_of(tail),
        [asking.pair.want()],
        now=asking.pair.now,
        nonce=b"n" * 16,
        caveats=narrow,
    )
    unverified = parse_tgs_request(asked.message)
    request = verify_tgs_request(unverified, asking.opened(narrow))
    check_tgs_extensions(unverified)
    assert request.tgt.caveats == (until,)
    assert request.ts == asking.pair.now
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verify_tgs_request(unverified, asking.opened())
    reply = asking.pair.realm.handle(asked.message)
    assert isinstance(open_tgs_reply(asked, reply).results[0], Granted)
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_tgs_reply(evolve(asked, key=asking.pop_key), reply)


@pytest.mark.parametrize(
    ("changes", "code"), [({"crit": [[3, b""]]}, "unsupported-critical"), ({"dis": [b""]}, "discharge-mismatch")]
)
def test_what_this_version_does_not_serve_is_refused_under_seal(changes: dict[str, Any], code: str) -> None:
    asking = Asking()
    unverified = parse_tgs_request(asking.request(**changes))
    verify_tgs_request(unverified, asking.opened())
    with pytest.raises(Refused, match=code):
        check_tgs_extensions(unverified)


class Acting(Asking):
    """billing was called by gateway with evidence, and asks in that name."""

    def __init__(self, **evidence: Any) -> None:
        super().__init__()
        self.pair.realm.add("gateway")
        self.shown = self.pair.realm.issue("gateway", "billing", flags=DELEGABLE, **evidence)
        proof = evidence_proof(self.shown.session_key, self.shown.ticket)
        self.behalf = Behalf(evidence=self.shown.ticket, proof=proof)

    def evidence(self, unverified: UnverifiedTgsRequest, client: str = "billing") -> OpenedEvidence:
        """What the KDC opens with this client's key."""
        assert unverified.behalf is not None
        realm = self.pair.realm
        return open_evidence(unverified.behalf, realm.root(client).ticket_key(), {1: realm.mac_key})


def test_evidence_enters_the_keys_of_request_and_reply() -> None:
    """Section 11: the sender opened the evidence, or the MAC is wrong; the reply is for such a sender alone."""
    acting = Acting()
    asked = acting.ask(behalf=acting.behalf)
    unverified = parse_tgs_request(asked.message)
    request = verify_tgs_request(unverified, acting.opened(), acting.evidence(unverified))
    assert request.evidence is not None
    assert request.evidence.ticket.client == principal("gateway")
    key = kd(acting.pop_key, "evmix", kd(acting.shown.session_key, "evid", sha256(acting.shown.ticket)))
    assert (request.reply_key, request.error_key) == (kd(key, "tgs-rep"), kd(key, "tgs-err"))
    subject = Subject(principal("gateway"), 19, BY_EVIDENCE)
    result = Granted(
        target=principal("payroll"), target_uid=17, credential=b"t" * 40, session_key=b"k" * 32, ttl_s=9,
        subject=subject,
    )  # fmt: skip
    sealed = seal_tgs_reply(request, [result], kdc_id="kdc-a", policy_seq=8, now=acting.pair.now, entropy=bytes(24))
    assert open_tgs_reply(asked, sealed).results == (result,)
    error = seal_tgs_error(request, "evidence-refused", now=acting.pair.now, entropy=bytes(24))
    with pytest.raises(KdcRefusal, match="evidence-refused"):
        open_tgs_reply(asked, error)
    for data in (sealed, error):
        with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
            open_tgs_reply(evolve(asked, key=acting.pop_key), data)


def test_sniffed_evidence_without_its_key_proves_nothing() -> None:
    """Section 17: evidence whose key is not known."""
    acting = Acting()
    for proof in (bytes(32), evidence_proof(acting.login.session_key, acting.shown.ticket),
                  evidence_proof(acting.shown.session_key, acting.login.ticket)):  # fmt: skip
        guessed = Behalf(evidence=acting.shown.ticket, proof=proof)
        unverified = parse_tgs_request(acting.ask(behalf=guessed).message)
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            verify_tgs_request(unverified, acting.opened(), acting.evidence(unverified))
    plain = parse_tgs_request(acting.request(behalf=[acting.shown.ticket, b"", None]))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        verify_tgs_request(plain, acting.opened(), acting.evidence(plain))


def test_evidence_is_for_the_authenticated_caller() -> None:
    """Section 17: evidence of someone else, also where a KDC opened it with the key that it names."""
    acting = Acting()
    foreign = acting.pair.realm.issue("gateway", "orders", flags=DELEGABLE)
    proof = evidence_proof(foreign.session_key, foreign.ticket)
    unverified = parse_tgs_request(acting.ask(behalf=Behalf(evidence=foreign.ticket, proof=proof)).message)
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        acting.evidence(unverified)
    opened = acting.evidence(unverified, "orders")
    with pytest.raises(PeerMisbehaved, match=r"unknown-key.*another service"):
        verify_tgs_request(unverified, acting.opened(), opened)


def test_a_request_is_verified_with_its_own_evidence() -> None:
    acting = Acting()
    plain, shown = (parse_tgs_request(acting.ask(**given).message) for given in ({}, {"behalf": acting.behalf}))
    with pytest.raises(LocalMisuse, match="opened before"):
        verify_tgs_request(shown, acting.opened())
    with pytest.raises(LocalMisuse, match="opened before"):
        verify_tgs_request(plain, acting.opened(), acting.evidence(shown))


def test_every_flipped_bit_of_a_request_with_evidence_is_noticed() -> None:
    """Section 17: every single flipped bit of every message."""
    acting = Acting()
    caveats = join_caveats([ScopesCaveat(("read",)).to_bytes()])
    message = acting.ask(behalf=evolve(acting.behalf, caveats=caveats)).message
    for at in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises((PeerMisbehaved, Refused)):  # noqa: PT012 - every step may be the one that notices
            unverified = parse_tgs_request(bytes(flipped))
            tgt_keys = {acting.pair.realm.tgt_key.kid: acting.pair.realm.tgt_key}
            opened = open_tgt(unverified.tgt, unverified.tgt_caveats, tgt_keys, {1: acting.pair.realm.mac_key})
            verify_tgs_request(unverified, opened, acting.evidence(unverified))


def test_caveats_of_the_evidence_cannot_be_edited_on_the_way() -> None:
    """Section 17: evidence with caveats shed, by anybody but the service that received them."""
    acting = Acting()
    caveats = join_caveats([ScopesCaveat(("read",)).to_bytes()])
    behalf = evolve(acting.behalf, caveats=caveats)
    body, mac_ = dec(acting.ask(behalf=behalf).message)
    items = dec(body)
    for changed in (b"", join_caveats([ScopesCaveat(("read", "write")).to_bytes()])):
        items[8][1] = changed
        unverified = parse_tgs_request(enc(enc(*items), mac_))
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            verify_tgs_request(unverified, acting.opened(), acting.evidence(unverified))


def test_a_subject_that_the_client_asserts_arrives_as_such() -> None:
    asking = Asking()
    alice = principal("alice")
    unverified = parse_tgs_request(asking.ask(behalf=Behalf(subject=alice)).message)
    request = verify_tgs_request(unverified, asking.opened())
    assert (request.asserted, request.evidence) == (Subject(alice, 0, BY_ASSERTION), None)
    assert request.reply_key == kd(asking.pop_key, "tgs-rep")


ALICE = ["test.realm", "alice", 0, 2]


@pytest.mark.parametrize(
    ("behalf", "subject", "taken"),
    [
        (None, None, True), (None, ALICE, False), (Behalf(subject=principal("alice")), ALICE, True),
        (Behalf(subject=principal("alice")), None, False),
        (Behalf(subject=principal("alice")), ["test.realm", "bob", 0, 2], False),
        (Behalf(subject=principal("alice")), ["other.realm", "alice", 0, 2], False),
        (Behalf(subject=principal("alice")), ["test.realm", "alice", 0, 1], False),
        (Behalf(evidence=b"\1\1\2" + bytes(40), proof=bytes(32)), ALICE, True),
        (Behalf(evidence=b"\1\1\2" + bytes(40), proof=bytes(32)), None, False),
    ],
)  # fmt: skip
def test_a_result_in_another_name_than_asked_for_is_not_taken(
    behalf: Behalf | None, subject: list[Any] | None, taken: bool
) -> None:
    """Nothing in another's name for an own call, nothing in the own name for a call on behalf of somebody."""
    asking = Asking()
    asked = asking.ask(asking.pair.want(), asking.pair.want("orders"), behalf=behalf)
    key = asking.pop_key if behalf is None else behalf.mixed_into(asking.pop_key)
    body = enc(b"n" * 16, asking.pair.now, "kdc-test", 1, [granted(subject=subject), refused(name="orders")], [])
    sealed = enc(1, 0, seal(kd(key, "tgs-rep"), "tgs-rep", sha256(asked.message), body, bytes(24)))
    if taken:
        assert len(open_tgs_reply(asked, sealed).results) == 2
    else:
        with pytest.raises(PeerMisbehaved, match="another name"):
            open_tgs_reply(asked, sealed)


def test_limits_and_demands_travel_beside_their_want() -> None:
    """Granted.demands are the cids of what the KDC wrote, Want.limits what it shall write."""
    asking = Asking()
    limits = join_caveats([MethodsCaveat(("GET",)).to_bytes()])
    asked = asking.ask(asking.pair.want(limits=limits), asking.pair.want())
    request = verify_tgs_request(parse_tgs_request(asked.message), asking.opened())
    assert [want.limits for want in read_wants(request.wants)] == [limits, b""]
    opened = open_tgs_reply(asked, asking.reply(asked, [granted(ext=[[1, enc(b"cid")]]), granted()]))
    assert [one.demands for one in opened.results if isinstance(one, Granted)] == [(b"cid",), ()]


def test_pending_requests_keep_their_secrets() -> None:
    acting = Acting()
    asked = acting.ask(behalf=acting.behalf)
    unverified = parse_tgs_request(asked.message)
    request = verify_tgs_request(unverified, acting.opened(), acting.evidence(unverified))
    for holder in (asked, request, acting.opened()):
        for secret in (asked.key, acting.pop_key, acting.behalf.proof, acting.shown.session_key, request.reply_key):
            assert repr(secret)[2:20] not in repr(holder)
        with pytest.raises(LocalMisuse, match="secret-not-exported"):
            pickle.dumps(holder)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2}, {"kind": 1}, {"tgt": b""}, {"caveats": None}, {"dis": None}, {"dis": [b""] * 5}, {"ts": -1},
        {"nonce": b""}, {"wants": b""}, {"wants": None}, {"wants": [WANT]}, {"behalf": [b"e" * 40, b""]},
        {"behalf": [None, None, None]}, {"behalf": [None, b"", None]}, {"behalf": []},
        {"behalf": [b"e" * 15, b"", None]}, {"behalf": [b"e" * 40, b"", ["test.realm", "alice", 0, 2]]},
        {"behalf": [None, b"", ["test.realm", "alice", 0, 1]]}, {"behalf": [None, b"", ["test.realm", "a", 1, 2]]},
        {"behalf": [None, b"c", ["test.realm", "alice", 0, 2]]}, {"crit": None}, {"more": 1},
        {"dis": [bytes(8200)] * 2},
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
