"""The files: which vectors they hold, in which order, and how they are written."""

from __future__ import annotations

import json

from orthros_tools.vectors import (
    negative,
    negative_authority,
    negative_http,
    positive,
    positive_authority,
    positive_http,
)
from orthros_tools.vectors import negative_exchanges as exchanges
from orthros_tools.vectors.parties import Vector
from orthros_tools.vectors.published import NORMATIVE, PUBLISHED

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
}


def all_files() -> dict[str, tuple[str, list[Vector]]]:
    """Text and vectors of every file, by name."""
    refused = [negative.primitives(), negative.keys(), negative.tickets()]
    refused += [exchanges.as_exchange(), exchanges.tgs_exchange(), exchanges.ap_exchange()]
    refused += [negative_http.caveats(), negative_http.http(), negative_authority.authority()]
    granted = [positive.primitives(), positive.keys(), positive.tickets(), positive.exchanges()]
    granted += [positive_http.caveats(), positive_http.http(), positive_authority.authority()]
    content = [PUBLISHED, NORMATIVE, *granted, *refused]
    return {name: (_text(name, vectors), vectors) for name, vectors in zip(_ABOUT, content, strict=True)}


def _text(name: str, vectors: list[Vector]) -> str:
    whole = {"protocol": "orthros/1", "about": _ABOUT[name], "vectors": vectors}
    return json.dumps(whole, indent=1, ensure_ascii=True) + "\n"
