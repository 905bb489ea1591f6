"""The one box: opens with its key, label and context, and with nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved
from orthros_protocol.primitives.sealing import BOX_OVERHEAD, open_box, seal
from tests.support import naive

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
ENTROPY = bytes(24)
BOX = seal(KEY, "test", b"context", b"plaintext", entropy=ENTROPY)


@given(st.binary(max_size=300), st.binary(max_size=60), st.binary(min_size=24, max_size=24))
def test_what_is_sealed_opens_and_a_second_implementation_agrees(plain: bytes, context: bytes, entropy: bytes) -> None:
    box = seal(KEY, "test", context, plain, entropy=entropy)
    assert len(box) == len(plain) + BOX_OVERHEAD
    assert box == naive.seal(KEY, "test", context, plain, entropy)
    assert open_box(KEY, "test", context, box, limit=1000) == plain


@pytest.mark.parametrize(
    ("key", "label", "context"),
    [(OTHER, "test", b"context"), (KEY, "text", b"context"), (KEY, "test", b"Context"), (KEY, "test", b"")],
)
def test_another_key_label_or_context_does_not_open_it(key: bytes, label: str, context: bytes) -> None:
    """CVE-2022-2031: a blob made for purpose A never opens under purpose B."""
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_box(key, label, context, BOX, limit=1000)


def test_every_flipped_bit_keeps_it_closed() -> None:
    for at in range(len(BOX) * 8):
        flipped = bytearray(BOX)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            open_box(KEY, "test", b"context", bytes(flipped), limit=1000)


def test_every_other_length_keeps_it_closed() -> None:
    for box in [BOX[:end] for end in range(len(BOX))] + [BOX + b"\0", BOX + BOX]:
        with pytest.raises(PeerMisbehaved, match="box-unopened"):
            open_box(KEY, "test", b"context", box, limit=1000)


def test_the_limit_comes_before_any_work() -> None:
    assert open_box(KEY, "test", b"context", BOX, limit=len(BOX)) == b"plaintext"
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_box(KEY, "test", b"context", BOX, limit=len(BOX) - 1)


@pytest.mark.parametrize("box", [bytearray(BOX), BOX.hex(), None])
def test_only_bytes_are_a_box(box: object) -> None:
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_box(KEY, "test", b"context", box, limit=1000)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 8, 12, 23, 25, 32])
def test_entropy_is_24_bytes(size: int) -> None:
    """Section 18: AESGCM accepts 8-byte nonces; here nobody can hand a nonce in, and entropy has one length."""
    with pytest.raises(LocalMisuse, match="24 bytes of entropy"):
        seal(KEY, "test", b"", b"", entropy=bytes(size))


def test_repeated_entropy_does_not_repeat_a_key() -> None:
    """CVE-2020-1759: nonce reuse. Salt and commitment, hence the key, depend on plaintext and context as well."""
    boxes = [
        seal(KEY, "test", b"context", b"one", entropy=ENTROPY),
        seal(KEY, "test", b"context", b"two", entropy=ENTROPY),
        seal(KEY, "test", b"Context", b"one", entropy=ENTROPY),
        seal(KEY, "text", b"context", b"one", entropy=ENTROPY),
    ]
    assert len({box[:24] for box in boxes}) == 4
    assert len({box[24:56] for box in boxes}) == 4


def test_every_failure_is_one_error_without_detail() -> None:
    """MUNGE 0.5.4 leaked data on a decode error: nothing of the plaintext or the cause shows."""
    errors = []
    for box in (BOX[:71], BOX[:40] + b"\0" + BOX[41:], BOX[:-1] + bytes([BOX[-1] ^ 1])):
        with pytest.raises(PeerMisbehaved) as caught:
            open_box(KEY, "test", b"context", box, limit=1000)
        errors.append((str(caught.value), caught.value.__cause__, caught.value.__suppress_context__))
    assert {text for text, _, _ in errors} == {str(PeerMisbehaved("box-unopened"))}
    assert errors[2][1:] == (None, True)


def test_a_box_that_opens_under_two_keys_is_caught_by_the_commitment() -> None:
    """A GCM ciphertext alone can be made to open under two keys; 32 committed bytes cannot."""
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_box(KEY, "test", b"context", BOX[:24] + bytes(32) + BOX[56:], limit=1000)
