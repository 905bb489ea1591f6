"""The files: which vectors they hold, in which order, and how they are written."""

from __future__ import annotations

import json

from workshop.vectors import (
    edges_answers,
    edges_ap_exchange,
    edges_as_exchange,
    edges_authority,
    edges_errors,
    edges_streams,
    edges_tgs_exchange,
    edges_tickets,
    edges_tokens,
    fields_of_messages,
    negative,
    negative_authority,
    negative_http,
    positive,
    positive_authority,
    positive_http,
)
from workshop.vectors import negative_exchanges as exchanges
from workshop.vectors.parties import Vector
from workshop.vectors.published import NORMATIVE, PUBLISHED

_ABOUT = {
    "published.json": "Values published elsewhere. Run these first: they test the backend, not the protocol.",
    "normative.json": "The first vectors of the protocol. They never change.",
    "primitives.json": "Encoding, names, PRF, box.",
    "keys.json": "Role keys, key ids, key files in both forms.",
    "tickets.json": "Tickets, the KDC's mark, caveats and tails.",
    "exchanges.json": "Every message of every exchange, and what its reader makes of it.",
    "caveats.json": "Caveats on the request itself, and requests that they allow.",
    "http.json": "What a request in HTTP is bound to, its headers, and those of the response.",
    "authority.json": "Attenuation, discharges of both constructions, hand-over, evidence, call chains.",
    "refused-primitives.json": "Encodings, names and boxes with exactly one thing wrong.",
    "refused-keys.json": "Key files with exactly one thing wrong.",
    "refused-tickets.json": "Tickets and caveats with exactly one thing wrong.",
    "refused-as-exchange.json": "The initial exchange with exactly one thing wrong.",
    "refused-tgs-exchange.json": "The ticket-granting exchange with exactly one thing wrong.",
    "refused-ap-exchange.json": "The AP exchange with exactly one thing wrong, in the order of the checks.",
    "refused-caveats.json": "Caveats with exactly one thing wrong, and requests that caveats exclude.",
    "refused-http.json": "HTTP requests, responses and challenges with exactly one thing wrong.",
    "refused-authority.json": "Demands, discharges, hand-overs, evidence and paths with exactly one thing wrong.",
    "edges-tickets.json": "Tickets and caveats at each limit, accepted, and one past it, refused.",
    "edges-as-exchange.json": "The initial exchange at each limit, accepted, and one past it, refused.",
    "edges-tgs-exchange.json": "The ticket-granting exchange at each limit, accepted, and one past it, refused.",
    "edges-ap-exchange.json": "The AP exchange at each limit, accepted, and one past it, refused.",
    "edges-authority.json": "Demands, discharges, hand-overs, evidence and paths at each limit and one past it.",
    "edges-streams.json": "Frames, clocks and labels at each limit, accepted, and one past it, refused.",
    "edges-errors.json": "What authenticated errors say besides their code, as it is written and as it is read.",
    "edges-tokens.json": "Tokens with the KDC's mark: what is believed, and what is refused with one thing wrong.",
    "edges-signatures.json": "Signatures in the form of RFC 9421, valid and with exactly one thing wrong.",
    "edges-answers.json": "Answers of targets and the HTTP profile at each limit, accepted, and one past it, refused.",
    "fields-requests.json": "Requests with each field at its limits, one past them, of another type, and nil.",
    "fields-answers.json": "Answers with each field at its limits, one past them, of another type, and nil.",
    "fields-tickets.json": "Tickets, caveats and key files, each field in the same ways.",
    "fields-authority.json": "Demands, discharges and hand-overs, each field in the same ways.",
}


def all_files() -> dict[str, tuple[str, list[Vector]]]:
    """Text and vectors of every file, by name."""
    refused = [negative.primitives(), negative.keys(), negative.tickets()]
    refused += [exchanges.as_exchange(), exchanges.tgs_exchange(), exchanges.ap_exchange()]
    refused += [negative_http.caveats(), negative_http.http(), negative_authority.authority()]
    granted = [positive.primitives(), positive.keys(), positive.tickets(), positive.exchanges()]
    granted += [positive_http.caveats(), positive_http.http(), positive_authority.authority()]
    edges = [edges_tickets.tickets(), edges_as_exchange.as_exchange(), edges_tgs_exchange.tgs_exchange()]
    edges += [edges_ap_exchange.ap_exchange(), edges_authority.authority()]
    edges += [
        edges_streams.streams(),
        edges_errors.errors(),
        edges_tokens.tokens(),
        edges_tokens.signatures(),
        edges_answers.answers(),
    ]
    every_field = [fields_of_messages.requests(), fields_of_messages.answers()]
    every_field += [fields_of_messages.tickets(), fields_of_messages.authority()]
    content = [PUBLISHED, NORMATIVE, *granted, *refused, *edges, *every_field]
    return {name: (_text(name, vectors), vectors) for name, vectors in zip(_ABOUT, content, strict=True)}


def _text(name: str, vectors: list[Vector]) -> str:
    whole = {"protocol": "orthros/1", "about": _ABOUT[name], "vectors": vectors}
    return json.dumps(whole, indent=1, ensure_ascii=True) + "\n"
