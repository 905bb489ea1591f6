"""The faults in tickets, in what asks for them and in what answers, that no vector could see."""

from __future__ import annotations

from typing import Final

from tests.mutants.entries import Entry, because, of_each

OF_TICKETS: Final[tuple[Entry, ...]] = (
    *because(
        "What no operation shows: when a TGS-REQ was sent, as tests/protocol/exchanges/test_tgs_exchange.py does.",
        "tgs_exchange.UnverifiedTgsRequest.decode: items[5] -> *",
    ),
    *because(
        "A client can only assert a subject, of number 0: `require_sense` refuses any other with the same code.",
        "tgs_exchange.UnverifiedTgsRequest.check: without `if not 0 <= behalf_subject_uid <= *",
        "tgs_exchange.UnverifiedTgsRequest.check: 0 <= behalf_subject_uid <= 9223372036854775807 -> -1 <= *",
        "tgs_exchange.UnverifiedTgsRequest.check: 0 <= behalf_subject_uid <= 9223372036854775807 -> 0 <= *",
        "tgs_exchange.UnverifiedTgsRequest.check: without `if not 1 <= behalf_subject_how <= 2`",
        "tgs_exchange.UnverifiedTgsRequest.check: 1 <= behalf_subject_how <= 2 -> 1 < *",
        "tgs_exchange.UnverifiedTgsRequest.check: 1 <= behalf_subject_how <= 2 -> 2 <= *",
        "tgs_exchange.UnverifiedTgsRequest.check: 1 <= behalf_subject_how <= 2 -> 0 <= *",
        "tgs_exchange.UnverifiedTgsRequest.check: 1 <= behalf_subject_how <= 2 -> 1 <= behalf_subject_how <= 3",
    ),
    *because(
        "What is opened or taken apart next refuses other sizes with the same code; a frame holds no larger wants.",
        *of_each(
            ["tgs_exchange.UnverifiedTgsRequest"],
            "check: without `if not 16 <= len(tgt) <= 8192`",
            "check: 16 <= len(tgt) <= 8192 -> 15 <= *",
            "check: 16 <= len(tgt) <= 8192 -> 16 <= len(tgt) <= 8193",
            "check: without `if len(tgt_caveats) > 8243`",
            "check: len(tgt_caveats) > 8243 -> len(tgt_caveats) > 8244",
            "check: 1 <= len(wants) <= 65536 -> 1 <= len(wants) *",
            "check: without `if behalf_evidence is not None and (not 16 <= *",
            "check: 16 <= len(behalf_evidence) <= 8192 -> 15 <= *",
            "check: 16 <= len(behalf_evidence) <= 8192 -> 16 <= len(behalf_evidence) <= 8193",
        ),
    ),
    *because(
        "A ticket's caveats are taken apart, which refuses what is larger; with 8243 bytes of them it has no room.",
        *of_each(
            ["ticket.Ticket", "ticket.TicketContent"],
            "check: without `if len(caveats_field) > 8243`",
            "check: len(caveats_field) > 8243 -> *",
        ),
    ),
    *because(
        "A ticket is written from objects: their class has made the arrays and their sizes, and checks the names. "
        "Another type is what a caller in Python alone can pass.",
        *of_each(
            ["ticket.TicketContent"],
            "check: without `if type(items) is not list or len(items) != 19`",
            "check: type(items) is not list or len(items) != 19 -> type(items) is not list",
            *[f"check: without `if *type(*) is not {kind}`" for kind in ("bytes", "int", "list", "str")],
            "check: type(one) is not str or * -> len(one) > 128 or *",
            "check: without `if version != 1`",
            "check: without `if len(chain_one) != 3`",
            "check: without `if subject is not None and len(subject) != 4`",
            "check: without `if *_realm is not None and (not 1 <= len(*_realm) <= 128)`",
            "check: without `if not is_name(*) or not *.isascii()`",
            "check: not is_name(*) or not *.isascii() -> not *.isascii()",
        ),
    ),
    *because(
        "No KDC writes a flag that it does not know, so never all 32.",
        "ticket.TicketContent.check: 0 <= flags <= 4294967295 -> 0 <= flags < 4294967295",
        "ticket.TicketContent.check: 0 <= flags <= 4294967295 -> 0 <= flags <= 4294967294",
    ),
    *because(
        "No KDC writes an extension into a ticket; those that are read have vectors.",
        *of_each(
            ["ticket.TicketContent"],
            *[f"check: without `if len({ext}) > 8`" for ext in ("crit", "opt")],
            *[f"check: len({ext}) > 8 -> *" for ext in ("crit", "opt")],
            "check: without `check_extensions(*",
            "check: 1024 -> *",
        ),
    ),
    *because(
        "The parts of a want are asked one by one once the whole is refused, of items that `decode` has taken: no "
        "negative number among them, and no text that is not ASCII.",
        *[f"wants.Want.check_{part}: 0 <= {part} <= * -> -1 <= *" for part in ("flags", "kind", "ttl_s")],
    ),
    *because(
        "What is longer or shorter is refused by the predicate of the part as well; the size only comes first.",
        *[
            f"wants.Want.check_{part}: {pattern}"
            for part in ("target_name", "target_realm")
            for pattern in (
                f"without `if not 1 <= len({part}) <= 128`",
                f"1 <= len({part}) <= 128 -> 0 <= *",
                f"1 <= len({part}) <= 128 -> 1 <= len({part}) <= 129",
                f"not is_name({part}) or not {part}.isascii() -> not is_name({part})",
            )
        ],
        "wants.Want.check_scopes: type(one) is not str or * -> type(one) is not str or not is_scope(one)",
        "wants.Want.check_scopes: len(one) > 128 -> *",
    ),
    *because(
        "Which class a result is of, its outcome has said; no array has more than 64 items.",
        "wants.Granted.check: without `if outcome != 0`",
        "wants.Granted.check: without `if len(notes) > 64`",
        "wants.Granted.check: len(notes) > 64 -> len(notes) > 65",
    ),
    *because(
        "A result has 13 items or 7, which its own class asks for.",
        "tgs_exchange.TgsReply.check: 7 <= len(results_one) <= 13 -> 6 <= *",
        "tgs_exchange.TgsReply.check: 7 <= len(results_one) <= 13 -> 7 <= len(results_one) <= 14",
    ),
)
