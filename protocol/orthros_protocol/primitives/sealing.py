"""The one box: hedged, committing authenticated encryption with a fresh key per message.

The only module that touches an AEAD. It fixes the nonce, and knows labels and contexts, not contents.
Construction: C2SP chunked-encryption cut to one chunk, after Bellare and Hoang's UtC transform:
every box has its own key, and 32 committed bytes bind that key and its context.
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
