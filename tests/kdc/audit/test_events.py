import json
from typing import Any

import attrs
import pytest

from orthros_kdc.audit.events import (
    EVENTS,
    AdminChanged,
    AsIssued,
    AsRefused,
    ClientFacts,
    ConfigReloaded,
    Event,
    Facts,
    KdcStarted,
    KdcStopped,
    RequestRejected,
    SenderFacts,
    Suppressed,
    TgsFacts,
    TgsIssued,
    TgsRefused,
    TokenIntrospected,
    TokenIssued,
    TokenRefused,
    TokenRevoked,
)
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.tickets.notes import Note, NoteCause, NoteField

WHEN: dict[str, Any] = {"at": Timestamp(1_800_000_000_000), "kdc_id": "kdc-1"}
FACTS = Facts(**WHEN)
STRANGER = SenderFacts(**WHEN)
TID = "0f" * 16


def of(client: str, **facts: Any) -> ClientFacts:
    return ClientFacts(**WHEN, client=client, **facts)


def asked(client: str, **facts: Any) -> TgsFacts:
    return TgsFacts(**WHEN, client=client, **facts)


@pytest.mark.parity("K16")
def test_the_set_is_closed_and_every_event_has_its_own_name() -> None:
    """Whoever reads the log can know every kind of line."""
    assert set(EVENTS.values()) == set(Event.__subclasses__())
    assert all(kind.name == name for name, kind in EVENTS.items())


@pytest.mark.parity("K16", "H6", "B3")
def test_a_granted_want_says_what_it_rests_on() -> None:
    """Who, to whom, what, how long, by which rules, and what was cut."""
    event = TgsIssued(
        about=asked("billing", txn=TID, source="uid:0"), target="ledger", kind="ticket", scopes=("read",), ttl_s=60,
        rules=(3, 7), notes=(Note(NoteField.SCOPE, NoteCause.PAIR_RULE, 1),), tid=TID,
    )  # fmt: skip
    assert event.to_dict() == {
        "event": "tgs-issued", "at": 1_800_000_000_000, "kdc_id": "kdc-1", "client": "billing", "target": "ledger",
        "kind": "ticket", "scopes": ["read"], "ttl_s": 60, "rules": [3, 7], "notes": [[1, 1, 1]], "tid": TID,
        "txn": TID, "source": "uid:0",
    }  # fmt: skip
    assert json.loads(json.dumps(event.to_dict())) == event.to_dict()


@pytest.mark.parity("H6", "L9")
def test_tokens_over_http_say_who_spoke_for_whom() -> None:
    """The row that proves who got which token, and the ones that tell what became of it."""
    issued = TokenIssued(
        about=of("shop", source="192.0.2.1"), target="orders@corp", grant="jwt-bearer", scopes=("read",), ttl_s=60,
        rules=(3,), subject="user/1", dropped=1, tid=TID, txn=TID,
    )  # fmt: skip
    assert issued.to_dict() == {
        "event": "token-issued", **WHEN, "client": "shop", "target": "orders@corp", "grant": "jwt-bearer",
        "scopes": ["read"], "ttl_s": 60, "rules": [3], "subject": "user/1", "dropped": 1, "tid": TID, "txn": TID,
        "source": "192.0.2.1",
    }  # fmt: skip
    refused = TokenRefused(about=of("shop"), code="not-granted", target="x@corp", kind="jwt", ref="00" * 8)
    assert (refused.to_dict()["kind"], refused.to_dict()["ref"]) == ("jwt", "00" * 8)
    assert TokenIntrospected(about=of("shop"), active=0, code="revoked", tid=TID).to_dict()["active"] == 0
    assert TokenRevoked(about=of("shop"), tid=TID).to_dict()["tid"] == TID
    with pytest.raises(LocalMisuse, match="tid is the hex of at most 16 bytes"):
        TokenRevoked(about=of("shop"), tid="00" * 32)


@pytest.mark.parity("K16", "L20")
def test_who_spoke_for_whom_and_which_way_stands_in_the_row() -> None:
    """Of what was granted and of what was refused; the id of the evidence joins it with its own row."""
    behalf: dict[str, Any] = {"subject": "user/1", "how": 2, "chain": ("web", "shop"), "evidence": TID, "txn": TID}
    facts = asked("orders", **behalf)
    issued = TgsIssued(about=facts, target="x@corp", kind="ticket", scopes=(), ttl_s=1, rules=(1,))
    refused = TgsRefused(about=facts, code="chain-refused", target="x@corp", ref="00" * 8)
    for event in (issued.to_dict(), refused.to_dict()):
        assert {name: event[name] for name in behalf} == behalf | {"chain": ["web", "shop"]}
    with pytest.raises(LocalMisuse, match="evidence is the hex of at most 16 bytes"):
        asked("orders", evidence="00" * 32)


@pytest.mark.parity("K16")
def test_no_scopes_are_written_down_as_none() -> None:
    """Authentication only is a fact, not an omission."""
    event = TgsIssued(about=asked("a"), target="b", kind="jwt", scopes=(), ttl_s=1, rules=(1,))
    assert event.to_dict()["scopes"] == []
    refused = TgsRefused(about=asked("a"), code="not-granted", target="b", scopes=())
    assert refused.to_dict()["scopes"] == []
    assert "scopes" not in TgsRefused(about=asked("a"), code="not-granted").to_dict()


@pytest.mark.parametrize("value", ["00" * 32, "00" * 17, "0", "zz", "AA", "00 "])
def test_no_field_takes_what_could_be_a_key(value: str) -> None:
    """CVE-2018-16889: keys are longer than ids."""
    with pytest.raises(LocalMisuse, match="tid is the hex of at most 16 bytes"):
        AsIssued(about=of("a"), service="kdc/tgt", ttl_s=1, tid=value)


@pytest.mark.parity("K16")
def test_words_of_strangers_are_cut_and_cleaned() -> None:
    """A detail is bounded and carries no key."""
    event = RequestRejected(about=STRANGER, code="malformed", ref="00" * 8, detail="ort1k_abcdef " + "x" * 1000)
    assert len(event.detail) == 64
    assert event.detail.startswith("<key redacted> xx")
    wide = RequestRejected(about=STRANGER, code="malformed", detail="\U0001f40d\n" * 99, claimed='"' * 99)
    assert (wide.detail, wide.claimed) == ("\U0001f40d\n" * 4 + "", '"' * 32)
    told = AsRefused(about=of("a"), service="kdc/tgt", code="busy", detail="\x00" * 999)
    assert len(json.dumps(told.detail)) - 2 <= 500
    changed = AdminChanged(about=FACTS, change="key.exported", facts={"actor": "ada", "path": "ort1k_abc", "kvno": 2})
    assert changed.to_dict()["facts"] == {"actor": "ada", "path": "<key redacted>", "kvno": 2}


def test_what_has_its_default_is_left_out() -> None:
    assert KdcStopped(about=FACTS).to_dict() == {"event": "kdc-stopped", **WHEN}
    assert set(KdcStarted(about=FACTS, unanchored=3).to_dict()) == {"event", "at", "kdc_id", "unanchored"}
    assert Suppressed(about=FACTS, count=9).to_dict()["count"] == 9
    assert ConfigReloaded(about=FACTS, waiting=("listen.tcp",)).to_dict()["waiting"] == ["listen.tcp"]


def test_events_do_not_change() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        KdcStopped(about=FACTS).about = STRANGER  # type: ignore[misc]
