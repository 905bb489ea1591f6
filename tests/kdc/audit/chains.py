"""Chains for the audit tests: some entries, as lines, with the anchor of any of them."""

from orthros_kdc.audit.chain import Head, append, genesis, peek
from orthros_kdc.store.base import AuditAnchor

WRITER = "kdc-1"


def chain_of(count: int, writer: str = WRITER, **fields) -> list[bytes]:
    head, lines = genesis(writer), []
    for number in range(count):
        line, head = append(head, {"event": "test", "n": number, **fields})
        lines.append(line)
    return lines


def head_at(line: bytes) -> Head:
    seen = peek(line)
    assert seen is not None
    return seen[0]


def anchor_at(line: bytes, writer: str = WRITER) -> AuditAnchor:
    head = head_at(line)
    return AuditAnchor(writer=writer, seq=head.seq, head=head.hash)


def split(content: bytes) -> list[bytes]:
    """As a file object would read it: only the newline ends a line, and the last may lack it."""
    *whole, rest = content.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])
