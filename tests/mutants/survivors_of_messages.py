"""The faults of declared fields, and of what is written for messages, that no vector could see."""

from __future__ import annotations

from typing import Final

from tests.mutants.entries import Entry, because, of_each


def _ext(function: str) -> list[str]:
    """Number and value of an extension, one taken for the other."""
    return [f"{function}: one[0] -> *", f"{function}: one[1] -> one[0]*"]


_CAVEATS: Final = ("App", "Channel", "Expires", "Methods", "Path", "Peer", "Scopes", "Targets", "ThirdParty")
# Fields that are names, by the end of their own.
_NAMES: Final = ("kdc_id", "name", "realm", "service")

OF_MESSAGES: Final[tuple[Entry, ...]] = (
    *because(
        "Nothing calls it: a record is checked, read and written by the code of the message that holds it.",
        *of_each(
            [
                "ap_exchange.AssertedUser",
                "as_exchange.SealedFor",
                "discharges._About",
                "evidence.UnverifiedBehalf",
                "http_profile._Covered",
                "notes.Note",
                "ticket._NearHop",
                "ticket._NearSubject",
                "ticket.Subject",
            ],
            "check: *",
            "of_items: *",
        ),
        "evidence.UnverifiedBehalf.to_items: *",
    ),
    *because(
        "Nothing calls it: what is only hashed or sealed is not read as this class, and no opened ticket is written.",
        "authenticators._RawBinding.decode: *",
        "http_profile.HttpBinding.decode: *",
        "ticket.TicketContent.decode: *",
        "ticket.Ticket.encode: *",
    ),
    *because(
        "No operation writes this caveat: tests/protocol/tickets/test_caveats.py shows what is written and refused.",
        *[f"caveats.{kind}Caveat.encode: *" for kind in ("App", "Channel", "Methods", "Path", "Peer", "Targets")],
    ),
    *because(
        "Only a bare number in the place of this array would tell: tests/protocol/primitives/test_schema.py has it.",
        *of_each(
            [
                "ap_exchange.ApError",
                "ap_exchange.ApReply",
                "ap_exchange.ApRequest",
                "as_exchange.UnverifiedAsRequest",
                "authenticators._RawBinding",
                *(f"caveats.{kind}Caveat" for kind in _CAVEATS),
                "discharges._OfHolder",
                "hand_over.HandedOver",
                "http_profile.HttpBinding",
                "tgs_exchange.UnverifiedTgsRequest",
                "ticket.TicketContent",
                "wants.Granted",
                "wants.NotGranted",
            ],
            "check: type(items) is not list or len(items) != * -> len(items) != *",
        ),
    ),
    *because(
        "What a caller in Python alone can pass: what is read are bytes.",
        "*.decode: type(data) is not bytes or len(data) > * -> len(data) > *",
    ),
    *because(
        "A name has 1 to 128 characters, which `is_name` judges as well; the size only comes first.",
        *[
            f"*.check: {pattern}"
            for name in _NAMES
            for pattern in (
                f"without `if not 1 <= len(*{name}) <= 128`",
                f"1 <= len(*{name}) <= 128 -> 1 <= * <= 129",
            )
        ],
        *[f"*.check: 1 <= len(*{name}) <= 128 -> 0 <= *" for name in _NAMES if name != "realm"],
        "ticket.Ticket.check: 1 <= len(client_realm) <= 128 -> 0 <= *",
    ),
    Entry(
        "*.check: 1 <= len(*realm) <= 128 -> 0 <= *",
        "The same; the realms of a ticket's chain and subject may be nil, and have a vector each.",
        besides="ticket.Ticket.check: *",
    ),
    *because(
        "What the predicate or pattern takes is ASCII.",
        *[
            f"*.check: not {one}(*) or not *.isascii() -> not {one}(*)"
            for one in ("is_app_name", "is_name", "is_path", "is_role")
        ],
    ),
    *because(
        "What is longer is refused by the predicate as well; the size only comes first.",
        "*.check: type(one) is not str or len(one) > 128 or (not *(one)) -> type(one) is not str or not *(one)",
        "*.check: len(one) > 128 -> *",
    ),
    *because(
        "Which kind a caveat is has been looked at, to find its class.",
        "caveats.*Caveat.check: without `if type(kind) is not int`",
        *[f"caveats.*Caveat.check: without `if kind != {kind}`" for kind in range(1, 10)],
    ),
    *because(
        "An app caveat's name has 3 to 127 characters, which its pattern judges; a path is at least `/`.",
        "caveats.AppCaveat.check: 1 <= len(name) <= 128 -> *",
        "caveats.PathCaveat.check: 1 <= len(prefix) <= 480 -> 0 <= *",
    ),
    *because(
        "What is larger is refused before it is taken apart, or has a part that is too large: the code is the same.",
        *of_each(
            [
                "ap_exchange.ApError",
                "ap_exchange.ApReply",
                "ap_exchange.ApRequest",
                "as_exchange.AsReply",
                "as_exchange.UnverifiedAsRequest",
                *[
                    f"caveats.{kind}Caveat"
                    for kind in ("App", "Channel", "Expires", "Methods", "Path", "Peer", "Targets", "ThirdParty")
                ],
                "discharges.Discharge",
                "discharges._Content",
                "discharges._OfKdc",
                "hand_over._Sealed",
                "http_profile.HttpReply",
                "keytab._KeyRecord",
                "messages.Signed",
                "messages._SealedError",
                "tgs_exchange.TgsReply",
                "tgs_exchange.UnverifiedTgsRequest",
                "ticket.Ticket",
            ],
            "decode: without `if type(data) is not bytes or len(data) > *",
            "decode: type(data) is not bytes or len(data) > * -> type(data) is not bytes",
            "decode: len(data) > * -> *",
        ),
    ),
    *because(
        "The parts of what is written are limited, and together they never reach the limit of the whole; what holds it "
        "has a limit as well.",
        *of_each(
            [
                "ap_exchange.ApError",
                "ap_exchange.ApReply",
                "ap_exchange.ApRequest",
                "ap_exchange.ApSigned",
                "as_exchange.AsReply",
                "as_exchange.UnverifiedAsRequest",
                "authenticators._RawBinding",
                "caveats.ExpiresCaveat",
                "caveats.ScopesCaveat",
                "caveats.ThirdPartyCaveat",
                "discharges.Discharge",
                "discharges._Content",
                "discharges._OfKdc",
                "hand_over._Sealed",
                "http_profile.HttpReply",
                "keytab._KeyRecord",
                "messages.Signed",
                "messages._Outer",
                "messages._SealedError",
                "tgs_exchange.TgsReply",
                "tgs_exchange.UnverifiedTgsRequest",
            ],
            "encode: without `if len(data) > *",
            "encode: len(data) > *",
        ),
    ),
    *because(
        "What is written was made or judged here, by types: a caller in Python alone could pass something else.",
        *of_each(
            [
                "ap_exchange.ApReply",
                "ap_exchange.ApSigned",
                "caveats.ExpiresCaveat",
                "caveats.ScopesCaveat",
                "discharges.Discharge",
                "discharges._OfHolder",
                "discharges._OfKdc",
                "hand_over._Sealed",
                "keytab._KeyRecord",
                "messages.Signed",
                "messages._Outer",
                "tgs_exchange.TgsReply",
                "tgs_exchange.UnverifiedTgsRequest",
            ],
            "encode: without `check(items)`",
        ),
    ),
    *because(
        "The ticket's clear header is read, which refuses every other size with the same code.",
        *of_each(
            ["ap_exchange.ApRequest", "as_exchange.AsReply", "hand_over._Sealed"],
            "check: without `if not 16 <= len(ticket) <= 8192`",
            "check: 16 <= len(ticket) <= 8192 -> 15 <= *",
            "check: 16 <= len(ticket) <= 8192 -> 16 <= len(ticket) <= 8193",
        ),
    ),
    *because(
        "The caveats in it are taken apart, which refuses what is larger with the same code.",
        *of_each(
            ["ap_exchange.ApRequest", "hand_over.HandedOver"],
            "check: without `if len(caveats) > 8243`",
            "check: len(caveats) > 8243 -> len(caveats) > 8244",
        ),
    ),
    *because(
        "What is signed begins with version and kind, which are looked at before; its size is that of the whole.",
        "ap_exchange.ApSigned.check: without `if not 4 <= len(body) <= 24576`",
        "ap_exchange.ApSigned.check: 4 <= len(body) <= 24576 -> 4 <= len(body) *",
        "ap_exchange.ApSigned.check: 4 <= len(body) <= 24576 -> 3 <= *",
        "messages.Signed.check: without `if not 4 <= len(body) <= 65536`",
        "messages.Signed.check: 4 <= len(body) <= 65536 -> *",
        "as_exchange.UnverifiedAsRequest.check: without `if type(version) is not int`",
        "as_exchange.UnverifiedAsRequest.check: without `if version != 1`",
        "tgs_exchange.UnverifiedTgsRequest.check: without `if type(version) is not int`",
        "tgs_exchange.UnverifiedTgsRequest.check: without `if version != 1`",
    ),
    *because(
        "An extension that nobody knows is ignored: what it holds, no reader tells.",
        "ap_exchange.ApReply.decode: items[5] -> *4]",
        *_ext("ap_exchange.ApReply.decode"),
        "ap_exchange.ApRequest.decode: items[13] -> items[12]*",
        *_ext("ap_exchange.ApRequest.decode"),
        "as_exchange.AsReply.decode: items[11] -> *10]",
        "keytab._KeyRecord.decode: items[9] -> *8]",
        *_ext("keytab._KeyRecord.decode"),
        "messages._SealedError.decode: items[4] -> *3]",
        *_ext("messages._SealedError.decode"),
        "tgs_exchange.TgsReply.decode: items[5] -> items[4]*",
        "tgs_exchange.TgsReply.decode: one[0] -> one[1]",
        "tgs_exchange.TgsReply.decode: one[0] -> one[-1]",
        "tgs_exchange.TgsReply.decode: one[1] -> one[0]*",
        "tgs_exchange.UnverifiedTgsRequest.decode: items[10] -> items[9]*",
        *_ext("tgs_exchange.UnverifiedTgsRequest.decode"),
        "ticket.Ticket.decode: items[17] -> items[18]",
        "ticket.Ticket.decode: items[17] -> items[16]*",
        "ticket.Ticket.decode: items[16] -> items[15]",
        *_ext("ticket.Ticket.decode"),
        "wants.NotGranted.of_items: items[6] -> items[5]",
        *_ext("wants.NotGranted.of_items"),
        *_ext("as_exchange.AsReply.decode"),
        "as_exchange.UnverifiedAsRequest.decode: items[11] -> items[10]*",
        *_ext("as_exchange.UnverifiedAsRequest.decode"),
    ),
    *because(
        "What no operation shows: instance and unknown extensions of an AS-REQ, which only the KDC's log has, and the "
        "user in whose name a gateway calls, whom tests/protocol/exchanges/test_acceptance.py shows.",
        "as_exchange.UnverifiedAsRequest.decode: items[9] -> *",
        "as_exchange.UnverifiedAsRequest.decode: items[10] -> items[9]",
        "ap_exchange.ApRequest.decode: items[11][0] -> *",
        "ap_exchange.ApRequest.decode: items[11][1] -> items[11][0]",
    ),
    *because(
        "`bind_raw` has judged its arguments, and the profile and the digest are its own.",
        "authenticators._RawBinding.check: without `if type(items) is not list or *",
        "authenticators._RawBinding.check: type(items) is not list or len(items) != 4 -> type(items) is not list",
        "authenticators._RawBinding.check: without `if *type(* is not str`",
        "authenticators._RawBinding.check: without `if *type(* is not bytes`",
        "authenticators._RawBinding.check: without `if len(payload_digest) != 32`",
        "authenticators._RawBinding.check: without `if not *",
        "authenticators._RawBinding.check: 1 <= len(profile) <= 128 -> *",
        "authenticators._RawBinding.check: 1 <= len(endpoint) <= 255 -> 0 <= *",
        "authenticators._RawBinding.check: 1 <= len(endpoint) <= 255 -> 1 <= len(endpoint) <= 256",
        "authenticators._RawBinding.check: not *.isascii() -> *",
        "authenticators._RawBinding.channel_binding: 0 -> -1",
        "authenticators._RawBinding.profile: text(*",
        "authenticators._RawBinding.endpoint: _MOST_ENDPOINT_CHARS -> _MOST_ENDPOINT_CHARS + 1",
        "authenticators._RawBinding.endpoint: text(*",
        "authenticators._RawBinding.payload_digest: binary(*",
    ),
    *because(
        "The profile checks its parts before it makes the object, and the patterns of a part judge its size as well.",
        "http_profile.HttpBinding.check: without `if type(items) is not list or *",
        "http_profile.HttpBinding.check: type(items) is not list or len(items) != 7 -> type(items) is not list",
        "http_profile.HttpBinding.check: without `if *type(* is not str`",
        "http_profile.HttpBinding.check: without `if *type(* is not bytes`",
        "http_profile.HttpBinding.check: without `if *type(* is not list`",
        *of_each(
            ["http_profile.HttpBinding"],
            *[f"check: without `if not 1 <= len({part}) <= *" for part in ("profile", "method", "scheme", "authority")],
            *[f"check: 1 <= len({part}) <= * -> *" for part in ("profile", "scheme", "authority", "content_digest")],
            "check: 1 <= len(method) <= 128 -> 1 <= *",
            "check: 1 <= len(method) <= 128 -> 0 <= *",
            "check: without `if content_digest is not None and (not 1 <= *",
            "check: without `if not pattern.fullmatch(profile) *",
            "check: not pattern.fullmatch(profile) or *",
            *[f"check: not pattern{number}.fullmatch(*) or * -> not pattern*" for number in (2, 3, 4, 5)],
            "check: without `if len(covered) > 16`",
            "check: len(covered) > 16 -> len(covered) > 17",
            "check: without `if len(covered_one) != 2`",
            "check: 1 <= len(covered_one_name) <= 128 -> 1 <= len(*) < 128",
            "check: 1 <= len(covered_one_name) <= 128 -> 1 <= len(*) <= 127",
            "check: without `if not pattern5.fullmatch(*",
            "check: not pattern5.fullmatch(*) or * -> not covered_one_name.isascii()",
        ),
        *of_each(
            ["http_profile.HttpReply"],
            "check: without `if len(covered) > 16`",
            "check: len(covered) > 16 -> len(covered) > 17",
            "check: without `if not 1 <= len(covered_one) <= 128`",
            "check: 1 <= len(covered_one) <= 128 -> *",
            "check: without `if not pattern.fullmatch(covered_one) *",
            "check: not pattern.fullmatch(covered_one) or *",
        ),
    ),
    *because(
        "A demand that begins as an array of two is that of a holder, and 4096 bytes hold no larger ticket.",
        "discharges._OfHolder.check: without `if type(items) is not list or *",
        "discharges._OfHolder.check: type(items) is not list or len(items) != 2 -> type(items) is not list",
        "discharges._OfHolder.check: without `if not 16 <= len(ticket) <= 8192`",
        "discharges._OfHolder.check: 16 <= len(ticket) <= 8192 -> 16 <= len(ticket) *",
        "discharges._OfHolder.check: 16 <= len(ticket) <= 8192 -> 15 <= *",
        "discharges._OfHolder.encode: len(data) > 4096 -> *",
    ),
    *because(
        "The key id is compared with that of the key, and a role with those that there are.",
        "keytab._KeyRecord.check: without `if len(kid) != 8`",
        "keytab._KeyRecord.check: 1 <= len(role) <= 128 -> 1 *",
        "keytab._KeyRecord.check: 1 <= len(role) <= 128 -> 2 *",
    ),
    *because(
        "A box of fewer than 72 bytes opens under no key, and a frame holds no larger one.",
        "messages._Outer.check: without `if not 8 <= len(content) <= 65536`",
        "messages._Outer.check: 8 <= len(content) <= 65536 -> 8 <= len(content) *",
        "messages._Outer.check: 8 <= len(content) <= 65536 -> 7 <= *",
    ),
)
