"""The faults in how a message declares its fields, and in how that is written, that no vector could see."""

from __future__ import annotations

from typing import Final

from tests.mutants.entries import Entry, because

_WITH_A_TICKET: Final = (
    "ap_exchange.ApRequest.ticket", "as_exchange.AsReply.ticket",
    "evidence.UnverifiedBehalf.evidence", "hand_over._Sealed.ticket", "tgs_exchange.UnverifiedTgsRequest.tgt",
)  # fmt: skip
_MAY_BE_EMPTY: Final = (
    "ap_exchange.ApRequest.caveats", "ap_exchange.ApRequest.discharges", "caveats.AppCaveat.payload",
    "evidence.UnverifiedBehalf.caveats", "http_profile._Covered.value", "tgs_exchange.UnverifiedTgsRequest.discharges",
    "tgs_exchange.UnverifiedTgsRequest.tgt_caveats", "ticket.TicketContent.caveats_field",
)  # fmt: skip
_NEVER_AS_LARGE: Final = ("App", "Channel", "Expires", "Methods", "Path", "Peer", "Targets", "ThirdParty")

OF_FIELDS: Final[tuple[Entry, ...]] = (
    *because(
        "No size is below zero.",
        *[f"schema.{shape}: 0 -> -1" for shape in ("array", "extensions", "text_set")],
        *[f"{field}: 0 -> -1" for field in _MAY_BE_EMPTY],
    ),
    *because(
        "What refuses a wrong declaration, and the protocol has none: tests/protocol/primitives/test_schema.py.",
        "schema._item_of: without `if [row.shape for row in shape.rows('')] != *",
        "schema._made: without `if (hidden *",
        "schema._written_again: without *",
        "schema._written_again: times > 1 -> times > 2",
        "schema.spread: without `if (unknown *",
    ),
    *because(
        "What Python alone sees, constants and pickling of an object: tests/protocol/primitives/test_schema.py.",
        "schema._made: has_secrets or * -> *",
        "schema._made: vars(cls.__base__).get('__getstate__') is not_exported -> *",
        "schema._made: without `setattr(made, member.name, member.shape.low)`",
    ),
    *because(
        "What is longer is refused by the predicate or pattern as well; the size only comes first.",
        "schema.text: 128 -> 129",
    ),
    *because(
        "The ticket's clear header is read: every other size is refused with the same code.",
        *[f"{field}: 16 -> 15" for field in _WITH_A_TICKET],
        *[f"{field}: MAX_TICKET_BYTES -> MAX_TICKET_BYTES + 1" for field in _WITH_A_TICKET],
    ),
    *because(
        "The caveats in it are taken apart: what is larger, or nil, is refused with the same code.",
        "ap_exchange.ApRequest.caveats: MAX_CAVEATS_BLOB_BYTES -> MAX_CAVEATS_BLOB_BYTES + 1",
        "tgs_exchange.UnverifiedTgsRequest.tgt_caveats: MAX_CAVEATS_BLOB_BYTES -> MAX_CAVEATS_BLOB_BYTES + 1",
        "tgs_exchange.UnverifiedTgsRequest.tgt_caveats: binary(0, MAX_CAVEATS_BLOB_BYTES) -> optional(*",
        "ticket.TicketContent.caveats_field: binary(* -> optional(*",
    ),
    *because(
        "A ticket of 8192 bytes has no room for so many caveats.",
        "ticket.TicketContent.caveats_field: MAX_CAVEATS_BLOB_BYTES -> *",
    ),
    *because(
        "A message that holds it is limited as a whole: what is larger, or as large, does not come to this check.",
        "ap_exchange.ApSigned.body: MAX_AP_REQUEST_BYTES -> *",
        "discharges._OfHolder.ticket: MAX_TICKET_BYTES -> *",
        "messages.Signed.body: MAX_FRAME_BYTES -> *",
        "messages._Outer.content: MAX_FRAME_BYTES -> *",
        "tgs_exchange.UnverifiedTgsRequest.wants: MAX_FRAME_BYTES -> *",
    ),
    *because(
        "What is smaller is refused with the same code where it is taken apart, opened or compared.",
        "ap_exchange.ApSigned.body: 4 -> 3",
        "discharges._OfHolder.ticket: 16 -> 15",
        "keytab._KeyRecord.kid: binary(8) -> binary(0, 8)",
        "messages.Signed.body: 4 -> *",
        "messages._Outer.content: REF_BYTES -> REF_BYTES - 1",
    ),
    *because(
        "What is larger is refused before it is taken apart, or has a part that is too large, with the same code; the "
        "parts of what is written never reach the limit of the whole.",
        *[f"caveats.{kind}Caveat: MAX_CAVEAT_BYTES -> *" for kind in _NEVER_AS_LARGE],
        "ap_exchange.ApRequest: MAX_AP_REQUEST_BYTES -> *",
        "as_exchange.AsReply: MAX_FRAME_BYTES -> *",
        "discharges._Content: _MOST_CONTENT_BYTES -> *",
        "discharges.Discharge: MAX_CAVEATS_BLOB_BYTES + 64 -> *",
        "discharges._OfKdc: MAX_DEMAND_BYTES -> *",
        "hand_over._Sealed: MAX_FRAME_BYTES -> *",
        "http_profile.HttpReply: _MOST_PROOF_BYTES -> *",
        "messages.Signed: MAX_FRAME_BYTES -> *",
        "tgs_exchange.TgsReply: MAX_FRAME_BYTES -> *",
        "tgs_exchange.UnverifiedTgsRequest: MAX_FRAME_BYTES -> *",
        "ticket.Ticket: MAX_TICKET_BYTES -> *",
    ),
    *because(
        "The profile checks its parts before it makes the object, and the patterns of a part judge its size as well.",
        "http_profile.HttpBinding.authority: 300 -> *",
        "http_profile.HttpBinding.content_digest: 1 -> *",
        "http_profile.HttpBinding.content_digest: 128 -> *",
        "http_profile.HttpBinding.profile: text(_PROFILE, * -> text(len, *",
        "http_profile._Covered.name: text(_HEADER_NAME) -> text(len)",
        "http_profile._Covered.*: * -> optional(*",
        *[
            f"http_profile.HttpBinding.{part}: * -> optional(*"
            for part in ("authority", "covered", "method", "profile", "scheme", "target")
        ],
        "http_profile.HttpBinding.covered: MAX_COVERED -> MAX_COVERED + 1",
        "http_profile.HttpReply.covered: MAX_COVERED -> MAX_COVERED + 1",
        "http_profile.HttpReply.covered: text(_HEADER_NAME) -> text(len)",
    ),
    *because("No array has more than 64 items, whatever is in it.", "wants.Granted.notes: 64 -> 65"),
    *because(
        "A default of the Python interface, which every operation of the vectors states.",
        "ticket.TicketContent.flags: 0 -> *",
    ),
    *because(
        "What a client keeps on its own host: tests/protocol/tickets/test_credential.py.",
        "credential.Credential.caveats: 0 -> -1",
        "credential.Credential.caveats: MAX_CAVEATS_BLOB_BYTES -> MAX_CAVEATS_BLOB_BYTES + 1",
        "credential.Credential.flags: *",
        "credential.Credential.kvno: *",
        "credential.Credential.notes: *",
        "credential.Credential.tail: *",
        "credential.Credential: flags before demands",
        "credential.Credential: kvno before flags",
        "credential.Credential: notes before kvno",
        "credential.Credential.target_uid: 0 -> *",
    ),
    *because("Both are 1, so the bytes are the same.", "as_exchange.UnverifiedAsRequest: kind before version"),
    *because(
        "It is made by position and compared as a whole; tests/protocol/exchanges/test_as_exchange.py shows its parts.",
        "as_exchange.SealedFor: service before realm",
    ),
    *because(
        "Which of two checks comes first: both refuse with the same code.",
        "shape_source.Shape.turn: 0 -> *",
        "shape_source.Shape.turn: (self.low, self.high) == (0, MAX_INT) -> *",
        "shape_source.Shape.turn: self.kind is not int -> *",
        "shape_source.Turn.CONSTANT: 0 -> -1",
        "shape_source.Turn.EXACT: 1 -> 2",
        "shape_source.Turn.OPTIONAL: 5 -> *",
        "shape_source.Turn.RANGE: 3 -> *",
        "shape_source.Turn.SIZE: 4 -> *",
        "shape_source.Turn.WIDEST: 2 -> *",
    ),
    *because(
        "The offset of a clock alone takes it as it is, and no message of the protocol has one.",
        "shape_source.Shape.low: 0 -> *",
    ),
    *because(
        "It writes the same condition in other words, or with other words for people.",
        "shape_source._outside: shape.low == 0 -> shape.low == -1",
        "shape_source._write_range: shape.turn == Turn.CONSTANT -> *",
        "shape_source._write_range: shape.kind is int -> *",
        "shape_source._write_range: without `if shape.is_sized_within`",
        "shape_source.Shape.is_sized_within: self.low == 0 -> self.low == -1",
        "shape_source.Shape.is_sized_within: * -> self.kind is list and self.low == 0",
        "shape_source.Shape._or_none: self.nil and expression != value -> *",
    ),
    *because(
        "A name within what is written, which nothing else reads.",
        "shape_source.Writer.named: 1 -> 0",
        "shape_source.Writer.named: 1 -> 2*",
    ),
)
