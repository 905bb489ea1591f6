"""The one box: hedged, committing authenticated encryption with a fresh key per message.

The problem. Tickets, replies and errors are sealed under keys that live for months, by programs that are copied,
restored and forked. AES-GCM alone fails badly there: a nonce that repeats under one key gives away both messages and
the key that authenticates; and a ciphertext can be built that opens under two keys, so that a KDC which tries keys, or
two readers of one box, can be made to see different things.

The mechanism. No box shares its key with another. From the long-lived key, the label and the context a PRF makes 64
bytes for each box: 32 are the key of AES-256-GCM, 32 travel in front of the ciphertext as a commitment. The nonce is
fixed, since each key is used once. What makes two boxes differ is a salt of 24 bytes, itself made by the PRF from
fresh entropy, context and plaintext: a machine that repeats its entropy seals equal messages equally, which shows that
they are equal and nothing else. Opening recomputes the 64 bytes and compares the commitment in constant time before
the cipher runs, so a box opens under one key and one context or not at all. There is one error for every cause.

The label says which kind of message this is and the context to what it answers: neither travels. A reply that is
moved to another request, or a ticket that is passed off as an error, does not open.

Rejected: random nonces under the long-lived key (a limit of 2^32 messages, and none after a fork); AES-GCM-SIV (not
committing); XChaCha20 with a key-committing tag (one more primitive, and not in every library for the second reader).

What would break it: a second use of the derived key, a label that two kinds of message share, a context that leaves
out what the box must be bound to, or a comparison of the commitment that is left out because the tag is checked anyway.

The only module that touches an AEAD. Knows labels and contexts, not contents. Construction: C2SP chunked-encryption
cut to one chunk, after Bellare and Hoang's UtC transform (docs/protocol/encoding.md).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved
from orthros_protocol.primitives.derivation import digest, mac_matches, prf

__all__ = ["BOX_OVERHEAD", "ENTROPY_BYTES", "open_box", "seal"]

ENTROPY_BYTES: Final = 24
_SALT_END: Final = 24
_COMMITMENT_END: Final = 56
BOX_OVERHEAD: Final = 72
# Each box has its own key, so this nonce is used once per key. Twelve bytes: GCM hashes other lengths.
_NONCE: Final = bytes(12)


def seal(key: bytes, label: str, context: bytes, plaintext: bytes, *, entropy: bytes) -> bytes:
    """SEAL(k, label, ctx, pt): `plaintext` in a box of 72 more bytes.

    `entropy` is 24 fresh random bytes; repeated or weak entropy still cannot repeat a key, because
    the salt depends on context and plaintext as well. `context` is not transmitted.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise LocalMisuse("value-invalid", "sealing takes 24 bytes of entropy")
    context_digest = digest(context)
    salt = prf(key, "s." + label, entropy + context_digest + digest(plaintext))[:_SALT_END]
    okm = prf(key, "b." + label, salt + context_digest + b"\x01")
    return salt + okm[32:] + AESGCM(okm[:32]).encrypt(_NONCE, plaintext, None)


def open_box(key: bytes, label: str, context: bytes, box: bytes, *, limit: int) -> bytes:
    """OPEN(k, label, ctx, box): the plaintext.

    `limit` is the largest box in bytes. Raises PeerMisbehaved `box-unopened`, one error for every cause.
    """
    if type(box) is not bytes or not BOX_OVERHEAD <= len(box) <= limit:
        raise PeerMisbehaved("box-unopened")
    salt = box[:_SALT_END]
    okm = prf(key, "b." + label, salt + digest(context) + b"\x01")
    # The commitment comes first: a box that opens under two keys cannot be built.
    if not mac_matches(okm[32:], box[_SALT_END:_COMMITMENT_END]):
        raise PeerMisbehaved("box-unopened")
    try:
        return AESGCM(okm[:32]).decrypt(_NONCE, box[_COMMITMENT_END:], None)
    except InvalidTag:
        raise PeerMisbehaved("box-unopened") from None
