"""One valid message of every kind, with the bytes inside its boxes, from one short story in a test realm."""

from __future__ import annotations

from typing import Any, cast

import attrs
import pytest
from attrs import frozen

from orthros_client.credentials import credential_file
from orthros_client.local.api import values
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges import ap_exchange as ap
from orthros_protocol.exchanges import as_exchange, http_profile, tgs_exchange
from orthros_protocol.exchanges.acceptance import build_ap_reply
from orthros_protocol.exchanges.ap_exchange import AssertedUser
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_JWT, Granted
from orthros_protocol.keys import keytab
from orthros_protocol.primitives import messages
from orthros_protocol.primitives.canonical import decode_as, encode_as
from orthros_protocol.primitives.messages import build_nak
from orthros_protocol.primitives.schema import Message, Record
from orthros_protocol.testing import IssuedTicket
from orthros_protocol.tickets import cache_file, caveats, discharges, hand_over
from orthros_protocol.tickets import ticket as tickets
from orthros_protocol.tickets.attenuation import pop_key_of, split_caveats, tail_of
from orthros_protocol.tickets.caveats import ScopesCaveat
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.hand_over import seal_hand_over
from tests.support.exchange_pair import ExchangePair
from tests.support.naive import dec, enc, kd, sha256, unseal
from tests.support.third_parties import ThirdParties

Shape = type[Message | Record]


def again(shape: Shape, data: bytes) -> bytes:
    """What is read from `data`, written again. Raises Malformed."""
    travel = {member.name for member in shape.members}
    beside = {one.name: b"" for one in attrs.fields(cast(Any, shape)) if one.init and one.name not in travel}
    if issubclass(shape, Record):
        return encode_as(shape.of_items(decode_as(shape.__name__, data, shape.check), **beside).to_items(), shape.check)
    return shape.decode(data, **beside).encode()


@frozen
class Specimens:
    """Whole messages as they travel, by name, and every canonical array in them with its schema."""

    messages: dict[str, bytes]
    arrays: dict[str, tuple[Shape, bytes]]


def collect_specimens() -> Specimens:
    """The story: billing logs in, asks for three things, calls payroll, and is refused once at each step."""
    pair = ExchangePair()
    realm = pair.realm
    key = realm.keytab("billing").as_key()

    asked = build_as_request(
        key, service="kdc/tgt", ttl_s=600, instance=b"i" * 16, now=pair.now, nonce=realm.entropy(16)
    )
    as_rep = realm.handle(asked.message)
    login = open_as_reply(asked, key, as_rep)
    realm.disable("billing")
    as_err = realm.handle(asked.message)
    realm.enable("billing")

    tail = pop_key_of(tail_of(login.session_key, login.ticket))
    wants = (
        pair.want(scopes=("read", "write"), ttl_s=60),
        pair.want(kind=WANT_JWT, flags=1),
        pair.want("orders", scopes=()),
    )
    wanted = build_tgs_request(login.ticket, tail, wants, now=pair.now, nonce=realm.entropy(16))
    tgs_rep = realm.handle(wanted.message)
    reply = open_tgs_reply(wanted, tgs_rep)
    realm.disable("billing")
    tgs_err = realm.handle(wanted.message)
    realm.enable("billing")

    granted = reply.results[0]
    assert isinstance(granted, Granted)
    assert granted.session_key is not None
    issued = IssuedTicket(
        ticket=granted.credential,
        session_key=granted.session_key,
        client=realm.principal("billing"),
        target=granted.target,
        scopes=granted.scopes,
        exp=0,
    )
    narrow = (ScopesCaveat(("read",)).to_bytes(), caveats.ExpiresCaveat(pair.second + 30).to_bytes())
    call = pair.request(issued, caveats=narrow, user=AssertedUser("alice", 2))
    plain = pair.request(issued)
    accepted = pair.target.accept(plain.message)
    ap_rep = build_ap_reply(accepted, now=pair.now)
    with pytest.raises(Refused) as refused:
        pair.target.accept(call.message)
    ap_err = refused.value.reply or b""

    whole = {
        "as-req": asked.message,
        "as-rep": as_rep,
        "as-err": as_err,
        "tgs-req": wanted.message,
        "tgs-rep": tgs_rep,
        "tgs-err": tgs_err,
        "ap-req": call.message,
        "ap-rep": ap_rep,
        "ap-err": ap_err,
        "nak": build_nak(b"r" * 8),
    }
    as_context, tgs_context = sha256(asked.message), sha256(wanted.message)
    body_of = {name: dec(message)[0] for name, message in whole.items() if name.endswith("req")}
    record = realm.keytab("payroll").to_bytes()
    arrays: dict[str, tuple[Shape, bytes]] = {
        "signed": (messages.Signed, whole["as-req"]),
        "outer": (messages._Outer, as_rep),
        "nak": (messages._Outer, whole["nak"]),
        "as-req body": (as_exchange.UnverifiedAsRequest, body_of["as-req"]),
        "as-rep body": (
            as_exchange.AsReply,
            unseal(kd(key.material, "as-rep"), "as-rep", as_context, dec(as_rep)[2]),
        ),
        "sealed error": (
            messages._SealedError,
            unseal(kd(key.material, "as-err"), "as-err", as_context, dec(as_err)[2]),
        ),
        "tgs-req body": (tgs_exchange.UnverifiedTgsRequest, body_of["tgs-req"]),
        "tgs-rep body": (tgs_exchange.TgsReply, unseal(kd(tail, "tgs-rep"), "tgs-rep", tgs_context, dec(tgs_rep)[2])),
        "ap signed": (ap.ApSigned, whole["ap-req"]),
        "ap-req body": (ap.ApRequest, body_of["ap-req"]),
        "ap-rep body": (ap.ApReply, dec(ap_rep)[0]),
        "ap-err body": (ap.ApError, dec(ap_err)[0]),
        "ticket body": (tickets.Ticket, _body_of_ticket(pair, issued.ticket)),
        "expires caveat": (caveats._KINDS[1], narrow[1]),
        "scopes caveat": (caveats._KINDS[2], narrow[0]),
        "methods caveat": (caveats._KINDS[3], enc(3, ["GET", "POST"])),
        "path caveat": (caveats._KINDS[4], enc(4, "/orders/%C3%A9")),
        "peer caveat": (caveats._KINDS[6], enc(6, ["10.0.0.0/8", "2001:db8::/32"])),
        "channel caveat": (caveats._KINDS[7], enc(7, b"c" * 32)),
        "targets caveat": (caveats._KINDS[5], enc(5, [["a.realm", "b"], ["test.realm", "payroll"]])),
        "third-party caveat": (caveats._KINDS[8], enc(8, "a.realm", "b", b"s" * 16, None, b"d" * 32)),
        "app caveat": (caveats._KINDS[9], enc(9, "payroll/run", b"7")),
        **_authority(),
        "http binding": (
            http_profile.HttpBinding,
            enc("http/1", "POST", "https", "orders.example:443", b"/a?b", [["x-a", b"1"]], b"d" * 54),
        ),
        "http reply": (
            http_profile.HttpReply,
            enc(1, pair.now, pair.target.epoch, 200, ["etag", "x-a"], b"v" * 32, b"b" * 32),
        ),
        "key record": (keytab._KeyRecord, record[11 : 11 + int.from_bytes(record[9:11], "big")]),
    }
    return Specimens(whole, arrays)


def _body_of_ticket(pair: ExchangePair, ticket: bytes) -> bytes:
    key = pair.realm.root("payroll").ticket_key()
    return unseal(key.box_key, "ticket", key.context, ticket[15:])


def _authority() -> dict[str, tuple[Shape, bytes]]:
    """A demand of each kind, a discharge, and a hand-over, with what is sealed in them."""
    pair = ThirdParties()
    by_holder, by_kdc = pair.by_holder(bytes(32)).cid, pair.by_kdc().cid
    given = pair.discharge(by_kdc, ScopesCaveat(("read",)))
    issued, around = pair.issue(), pair.realm.issue("billing", "orders")
    handed = Credential(
        ticket=issued.ticket, caveats=split_caveats(given.caveats), tail=bytes(32), target=issued.target, target_uid=17,
        client=issued.client, scopes=("read", "write"), life=Life.until(pair.second, 9),
        subject=tickets.Subject(issued.client, 7, 1), demands=(by_kdc, by_holder),
    )  # fmt: skip
    sealed = seal_hand_over(
        handed, ticket=around.ticket, pop_key=around.pop_key, sender=issued.client,
        receiver=pair.realm.principal("orders"), entropy=bytes(24),
    )  # fmt: skip
    material = pair.realm.root("approvals").ticket_key().material
    demand = unseal(kd(material, "3p"), "3p", enc("3p", "test.realm", "kdc", "approvals", 1), dec(by_kdc)[4])
    context = enc("deleg", "test.realm", "billing", "orders", sha256(issued.ticket))
    content = unseal(kd(around.pop_key, "deleg"), "deleg", context, dec(sealed)[3])
    items, issue = dec(content), (3, 7, [[1, 4, 0], [2, 3, None]])
    return {
        "demand of a holder": (discharges._OfHolder, by_holder),
        "demand of the KDC": (discharges._OfKdc, by_kdc),
        "demand": (discharges._Content, demand),
        "discharge": (discharges.Discharge, enc(given.caveats, given.tail)),
        "hand-over": (hand_over._Sealed, sealed),
        "handed over": (hand_over.HandedOver, content),
        "narrowed credentials": (credential_file._NarrowedCredentials, enc(*items, 0, 500)),
        "cached ticket": (cache_file.CachedTicket, enc(*items, *issue, ["read"], 60, 1, 1_800_000_000_123)),
        "cached token": (cache_file.CachedTicket, enc(*items[:2], None, *items[3:], *issue, None, 0, 0, 0)),
        "grant": (values.CredentialGrant, enc(*items, *issue, 5000, 250, 0, ["test.realm", "web"])),
    }
