"""What one principal, one source and all strangers together can cause to be written, in bytes; and that no reference is
lost."""

from collections import Counter
from typing import Any

import pytest

from orthros_kdc.audit.chain import append, genesis
from orthros_kdc.audit.events import Facts, RequestRejected, SenderFacts, Suppressed, TgsFacts, TgsIssued, TgsRefused
from orthros_kdc.audit.receipts import KEPT
from orthros_kdc.audit.refusal_throttle import CLIENT, COPIES, SOURCE, RefusalThrottle
from orthros_protocol.errors import Unavailable
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import CountingEntropy
from orthros_protocol.tickets.notes import Note, NoteCause, NoteField

SPAN_S = 600
SCOPES = tuple("s" * 62 + f"{number:02}" for number in range(32))


class Log:
    def __init__(self):
        self.now = 0.0
        self.events = []
        self.is_full = False
        entropy = CountingEntropy()
        self.sieve = RefusalThrottle(self.record, monotonic=lambda: self.now, entropy=lambda: entropy(8))

    def record(self, event):
        if self.is_full:
            raise Unavailable("kdc-fault", "full")
        self.events.append(event)
        return KEPT

    @property
    def size(self):
        return sum(len(append(genesis("kdc-1"), event.to_dict())[0]) for event in self.events)

    def refused(self, kind, name, code="not-granted"):
        def make(ref):
            if kind == SOURCE:
                sender = SenderFacts(at=Timestamp(1), kdc_id="kdc-1", source=name)
                return RequestRejected(about=sender, code=code, ref=ref.hex(), detail="x" * 99, claimed="y" * 99)
            about = TgsFacts(at=Timestamp(1), kdc_id="kdc-1", source="192.0.2.1", client=name)
            return TgsRefused(about=about, code=code, ref=ref.hex(), target="orders@corp.test", scopes=SCOPES)

        return self.sieve.take(kind, name, make).hex()

    def flooded(self, kind, names, per_s=5):
        refs = []
        for second in range(SPAN_S):
            refs += [self.refused(kind, names(second * per_s + number)) for number in range(per_s)]
            self.now += 1
            self.sieve.sum_up(Timestamp(second))
        self.sieve.sum_up(Timestamp(0), all_of_them=True)
        return refs


@pytest.fixture
def log():
    return Log()


@pytest.mark.parity("O5")
@pytest.mark.parametrize("kind", [CLIENT, COPIES, SOURCE])
def test_one_name_causes_a_bounded_number_of_bytes_and_no_reference_is_lost(log, kind) -> None:
    """Whatever it sends; before, a principal within its rate could cause 114 GB a day."""
    refs = log.flooded(kind, lambda _: "shop")
    assert log.size < 64 * 1024 + SPAN_S * 1024 * 1.1
    found = {event.ref for event in log.events}
    assert set(refs) <= found
    summed = [event for event in log.events if isinstance(event, Suppressed)]
    assert sum(one.count for one in summed) + len(log.events) - len(summed) == len(refs)
    one = summed[0]
    assert (one.source if kind == SOURCE else one.client) == "shop" or one.of == ""
    assert one.codes[0].startswith("not-granted:")


def test_strangers_from_everywhere_have_one_bound_together(log) -> None:
    refs = log.flooded(SOURCE, lambda number: f"2001:db8:{number:x}::/64")
    assert log.size < 256 * 1024 + SPAN_S * 2048 * 1.2
    assert set(refs) <= {event.ref for event in log.events}


@pytest.mark.parity("B2")
def test_one_name_does_not_use_up_the_share_of_another(log) -> None:
    """Garbage from elsewhere does not make anybody's reference useless."""
    for _ in range(1000):
        log.refused(SOURCE, "192.0.2.7")
        log.refused(CLIENT, "loud")
    for kind, name in ((SOURCE, "192.0.2.8"), (CLIENT, "quiet")):
        ref = log.refused(kind, name)
        assert log.events[-1].ref == ref
        assert log.events[-1].name != Suppressed.name


def test_a_summary_says_how_often_and_why(log) -> None:
    refs = [log.refused(CLIENT, "shop", code) for code in ("busy", "not-granted") for _ in range(100)]
    log.sieve.sum_up(Timestamp(9))
    assert not any(isinstance(event, Suppressed) for event in log.events), "nothing is left of the share"
    log.now += 10
    log.sieve.sum_up(Timestamp(9))
    last = log.events[-1]
    assert isinstance(last, Suppressed)
    assert (last.of, last.client, last.since, last.about.at) == ("tgs-refused", "shop", 1, 9)
    told = {code: int(count) for code, count in (one.split(":") for one in last.codes)}
    written = Counter(event.code for event in log.events[:-1])
    assert Counter(told) + written == Counter(busy=100, **{"not-granted": 100})
    assert refs[-1] == last.ref
    log.now += 100
    assert log.refused(CLIENT, "shop") == log.events[-1].ref
    assert len(log.events) == written.total() + 2


def test_a_log_that_takes_nothing_does_not_stop_refusals(log) -> None:
    log.is_full = True
    assert len(log.refused(CLIENT, "shop")) == 16


@pytest.mark.parity("O5")
def test_no_line_is_longer_than_what_was_counted() -> None:
    """The weight bounds the line, whatever the texts are made of."""
    common: dict[str, Any] = {"at": Timestamp(2**45), "kdc_id": "kdc-1" * 12}
    source = "2001:db8:ffff:ffff::/64"
    asked = TgsFacts(**common, source=source, client="c" * 128, txn="ff" * 16, request="ff" * 16, evidence="ff" * 16,
                     subject="s" * 257, how=2, chain=("n" * 257,) * 8)  # fmt: skip
    notes = tuple(Note(NoteField.SCOPE, NoteCause.PAIR_RULE, 2**40) for _ in range(64))
    events = [
        TgsIssued(about=asked, target="t" * 257, kind="ticket", scopes=SCOPES, ttl_s=2**31, rules=(2**40,) * 64,
                  notes=notes, tid="ff" * 16, policy_seq=2**45, kvno=2**31, delegable=1),
        TgsRefused(about=asked, code="not-granted", target="t" * 257, scopes=SCOPES, detail="\x00" * 500, notes=notes,
                   ref="ff" * 8),
        RequestRejected(about=SenderFacts(**common, source=source), code="unauthenticated-refusal", ref="ff" * 8,
                        detail="\U0001f40d" * 500, claimed='"' * 500),
        Suppressed(about=Facts(**common), source=source, count=2**40, of="token-introspected", since=2**45,
                   codes=("not-granted:99",) * 9, client="c" * 128, ref="ff" * 8),
    ]  # fmt: skip
    for event in events:
        line, _ = append(genesis("kdc-1"), event.to_dict())
        assert len(line) + len(',"clock":1795316950007') <= event.weight()
