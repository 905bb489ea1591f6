"""The examples of the pattern's own document, as they were published."""

from __future__ import annotations

import pytest

from orthros_client.matryoshka import SigningKey, Sought, peek_unverified, read_stack
from orthros_protocol.errors import PeerMisbehaved
from tests.client.matryoshka.examples import SECRET, SIMPLE, THREE_NESTED

NOW = 1_800_000_000
KEY = SigningKey(material=SECRET, weak=True)
SERVICES = ["Organization.Services.ServiceC", "Organization.Services.ServiceB", "Organization.Services.ServiceA"]


@pytest.mark.parity("M1", "M2")
def test_the_simple_example_is_verified_layer_by_layer() -> None:
    """Signature and undocumented hash of both layers."""
    stack = read_stack(SIMPLE, KEY, now_s=NOW)
    assert stack.verified
    assert [dict(layer.claims) for layer in stack.layers] == [
        {"sub": "1234567890", "name": "John Doe", "iat": 1516239022}
    ] * 2
    assert [(layer.sid, layer.depth_said, layer.depth_found) for layer in stack.layers] == [
        (None, 1, 1),
        (None, None, 0),
    ]
    assert (stack.depth, stack.opaque, stack.loops) == (1, 0, ())
    assert stack.remarks == {"weak-key"}


@pytest.mark.parity("M1", "M2", "M3")
def test_the_compressed_example_is_read_through_its_wrong_label() -> None:
    """Gzip outside; inside, `cmp` says gzip of a container that is a bare token."""
    stack = read_stack(THREE_NESTED, KEY, now_s=NOW, inner_faults="report")
    assert [layer.sid for layer in stack.layers] == [*SERVICES, None]
    assert [layer.depth_said for layer in stack.layers] == [3, 2, 1, None]
    assert [layer.depth_found for layer in stack.layers] == [3, 2, 1, 0]
    assert ["compression-mislabelled" in layer.remarks for layer in stack.layers] == [False, True, False, False]
    assert "depth-mismatch" not in stack.remarks
    assert "hash-wrong" not in stack.remarks
    assert "hash-missing" not in stack.remarks


@pytest.mark.parity("M2")
def test_one_token_of_the_document_has_another_secret_than_it_says() -> None:
    """The token of ServiceA was signed with the default of a well-known web page; neither it nor what is inside
    is verified with the document's secret, however tolerant the reader."""
    with pytest.raises(PeerMisbehaved, match=r"token-invalid.*signature-wrong, 2 tokens inside"):
        read_stack(THREE_NESTED, KEY, now_s=NOW)
    stack = read_stack(THREE_NESTED, KEY, now_s=NOW, inner_faults="report")
    assert [layer.verified for layer in stack.layers] == [True, True, False, False]
    assert [layer.sid for layer in stack.layers if "signature-wrong" in layer.remarks] == [SERVICES[2]]
    assert not stack.verified
    assert stack.layers[2].claims == {}
    assert stack.layers[2].unverified_claims["name"] == "John Doe"

    def as_signed(sought: Sought) -> SigningKey:
        return KEY if sought.position != 2 else SigningKey(material=b"your-256-bit-secret", weak=True)

    # Its signature fits that other secret; its hash still has the document's.
    faulty = read_stack(THREE_NESTED, as_signed, now_s=NOW, inner_faults="report").layers[2]
    assert "signature-wrong" not in faulty.remarks
    assert "hash-wrong" in faulty.remarks


@pytest.mark.parity("M1")
def test_hops_read_as_a_path_and_mark_what_nobody_verified() -> None:
    """The whole chain, for people."""
    stack = read_stack(THREE_NESTED, KEY, now_s=NOW, inner_faults="report")
    assert stack.hops == ("1234567890 (unverified)", f"{SERVICES[2]} (unverified)", SERVICES[1], SERVICES[0])


@pytest.mark.parity("M1")
def test_without_the_secret_there_is_only_a_shape() -> None:
    """Signatures are never optional for the outermost token."""
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        read_stack(SIMPLE, {}, now_s=NOW)
    with pytest.raises(PeerMisbehaved, match="token-invalid"):
        read_stack(SIMPLE, SigningKey(material=b"exampl", weak=True), now_s=NOW)
    shape = peek_unverified(THREE_NESTED)
    assert shape.depth == 3
    assert not any(layer.verified or layer.claims for layer in shape.layers)
