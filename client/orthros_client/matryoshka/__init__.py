"""Nested tokens (the Matryoshka form, claim `auth_stack`) at the edge: read tolerantly, written strictly.

For systems that pass call chains as tokens inside tokens. Nothing that is read here is evidence towards the KDC or a
verifier, and nothing that is written here is accepted by them. Needs the extra `matryoshka`.
"""

from orthros_client.matryoshka.reading import peek_unverified, read_stack
from orthros_client.matryoshka.values import (
    HEADER_CHARS,
    READING,
    WRITING,
    AuthStack,
    Layer,
    ReaderKey,
    Remark,
    SigningKey,
    Sought,
    StackLimits,
)
from orthros_client.matryoshka.writing import CallerLike, export_caller, nest

__all__ = [
    "HEADER_CHARS",
    "READING",
    "WRITING",
    "AuthStack",
    "CallerLike",
    "Layer",
    "ReaderKey",
    "Remark",
    "SigningKey",
    "Sought",
    "StackLimits",
    "export_caller",
    "nest",
    "peek_unverified",
    "read_stack",
]
