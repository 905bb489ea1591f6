"""JWT keys: enabled once, handed to the target, and good for an ordinary library."""

import json
import stat

import jwt as pyjwt
import pytest

from tests.tools.admin.bench import AdminBench


def test_enabled_target_learns_algorithm_audience_and_next_step(bench: AdminBench) -> None:
    bench.add("shop/orders")
    told = bench.ok("jwt enable shop/orders")
    kid = bench.rows("principal show shop/orders")[0]["jwt_keys"][0]["kid"]
    assert told.out == (
        f"JWTs for shop/orders enabled: HS256, audience shop/orders@corp.example, key {kid}\n"
        "next: orthros-admin jwt export shop/orders --out shop-orders.jwk\n"
    )


def test_exported_jwk_is_what_an_ordinary_library_takes(bench: AdminBench) -> None:
    bench.add("orders")
    bench.ok("jwt enable orders --alg HS512 --audience https://orders.example")
    bench.ok("jwt export orders --out orders.jwk")
    path = bench.folder / "orders.jwk"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    jwk = pyjwt.PyJWK(json.loads(path.read_text()))
    assert (jwk.algorithm_name, jwk.key_type) == ("HS512", "oct")
    token = pyjwt.encode({"aud": "https://orders.example"}, jwk.key, algorithm="HS512")
    bench.ok("jwt export orders --format hex --out orders.hex")
    key = bytes.fromhex((bench.folder / "orders.hex").read_text())
    assert pyjwt.decode(token, key, algorithms=["HS512"], audience="https://orders.example")


def test_key_on_standard_output_is_alone_there(bench: AdminBench) -> None:
    bench.add("orders")
    bench.ok("jwt enable orders")
    told = bench.ok("jwt export orders --out -", secret=True)
    assert json.loads(told.out)["kty"] == "oct"
    assert json.loads(told.out)["k"] not in told.err
    assert bench.run("jwt export orders --out - --output json").code == 1


def test_rotated_key_is_the_one_that_is_exported(bench: AdminBench) -> None:
    bench.add("orders")
    (enabled,) = bench.rows("jwt enable orders")
    told = bench.ok("jwt rotate orders")
    (exported,) = bench.rows("jwt export orders --out orders.jwk")
    assert exported["kid"] != enabled["kid"]
    assert told.out == (
        f"JWTs for orders are signed with key {exported['kid']} from now on\n"
        "next: orthros-admin jwt export orders --out FILE, and install it at once\n"
    )
    assert exported == {"target": "orders", "alg": "HS256", "kid": exported["kid"], "format": "jwk",
                        "key_file": "orders.jwk"}  # fmt: skip


def test_opaque_tokens_have_no_key_to_hand_over(bench: AdminBench) -> None:
    bench.add("orders")
    told = bench.ok("jwt enable orders --alg opaque")
    assert told.out.endswith("next, so that orders can introspect them: orthros-admin oauth enable orders\n")
    for form in ("jwk", "hex"):
        refused = bench.run(f"jwt export orders --format {form} --out orders.jwk")
        assert (refused.code, "code: conflict" in refused.err) == (1, True)
    assert bench.files() == {"orders.key"}
    assert "next:" not in bench.ok("jwt rotate orders").out
    assert bench.rows("principal show orders")[0]["jwt_alg"] == "opaque"


def test_extra_claims_are_named_at_first_or_later(bench: AdminBench) -> None:
    bench.add("orders")
    (row,) = bench.rows("jwt enable orders --claim tenant --claim region")
    assert row["claims"] == ["region", "tenant"]
    assert "extra claims: region tenant\n" in bench.ok("principal show orders").out
    assert bench.rows("jwt claims orders --claim shop") == [{"target": "orders", "claims": ["shop"]}]
    assert bench.ok("jwt claims orders --none").out == "extra claims in tokens for orders: none\n"
    assert bench.rows("principal show orders")[0]["token_claims"] == []


def test_disabled_target_has_no_keys_left(bench: AdminBench) -> None:
    bench.add("orders")
    bench.ok("jwt enable orders")
    assert bench.ok("jwt disable orders --yes").out == "JWTs for orders disabled, keys erased\n"
    assert bench.rows("principal show orders")[0]["jwt_keys"] == []


@pytest.mark.parametrize(
    ("line", "exit_code", "code"),
    [
        ("jwt enable nobody", 5, "not-found"),
        ("jwt enable orders", 1, "already-exists"),
        ("jwt enable billing --alg none", 1, "usage"),
        ("jwt enable billing --alg RS256", 1, "usage"),
        ("jwt enable billing --audience 'a b'", 1, "value-invalid"),
        ("jwt enable billing --claim sub", 1, "value-invalid"),
        ("jwt claims orders", 1, "usage"),
        ("jwt claims orders --claim tenant --none", 1, "usage"),
        ("jwt claims orders --claim may_act", 1, "value-invalid"),
        ("jwt claims billing --claim tenant", 5, "not-found"),
        ("jwt disable billing", 5, "not-found"),
        ("jwt rotate billing", 5, "not-found"),
        ("jwt export billing --out x.jwk", 5, "not-found"),
        ("jwt export orders --out orders.key", 1, "file-exists"),
        ("jwt export orders --out missing/x.jwk", 1, "file-unreadable"),
        ("jwt export orders", 1, "usage"),
    ],
)
def test_refused_command_changes_nothing(bench: AdminBench, line: str, exit_code: int, code: str) -> None:
    bench.add("orders", "billing")
    bench.ok("jwt enable orders")
    before = bench.snapshot()
    told = bench.run(f"{line} --output json")
    assert (told.code, told.out, told.error["code"]) == (exit_code, "", code)
    assert bench.snapshot() == before
    assert bench.files() == {"orders.key", "billing.key"}
