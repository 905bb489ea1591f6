"""JWT export: enabling it for a target, its keys, and the form in which they are handed over."""

import base64

import jwt
import pytest

from orthros_kdc.admin import jwt_keys, principals
from orthros_protocol.errors import Misconfigured


@pytest.fixture
async def admin(admin, trail):
    await principals.add(admin, "payroll")
    trail.events.clear()
    return admin


async def test_jwt_export_is_off_until_it_is_enabled(admin, trail):
    """Own records, opt-in."""
    assert (await principals.show(admin, "payroll")).record.jwt_alg is None
    for case in (jwt_keys.export, jwt_keys.rotate, jwt_keys.disable, jwt_keys.listed):
        with pytest.raises(Misconfigured, match="not-found"):
            await case(admin, "payroll")
    assert trail.names == []


async def test_the_audience_is_the_targets_own_name_unless_said_otherwise(admin, trail):
    await jwt_keys.enable(admin, "payroll")
    record = (await principals.show(admin, "payroll")).record
    assert (record.jwt_alg, record.jwt_audience) == ("HS256", "payroll@example.org")
    await jwt_keys.disable(admin, "payroll")
    await jwt_keys.enable(admin, "payroll", alg="HS512", audience="https://payroll.example.org")
    record = (await principals.show(admin, "payroll")).record
    assert (record.jwt_alg, record.jwt_audience) == ("HS512", "https://payroll.example.org")
    assert trail.names == ["jwt.enabled", "jwt.disabled", "jwt.enabled"]


@pytest.mark.parametrize("audience", ["https://payroll.example.org", "payroll@example.org", "billing@example.org"])
async def test_two_targets_do_not_share_an_audience(admin, trail, audience):
    """A token names its target by `aud`; the default audience of a name is kept for it, enabled or not."""
    await principals.add(admin, "ledger")
    await jwt_keys.enable(admin, "payroll", audience=audience if audience.startswith("https") else None)
    trail.events.clear()
    with pytest.raises(Misconfigured, match=r"conflict.*audience"):
        await jwt_keys.enable(admin, "ledger", audience=audience)
    assert trail.names == []
    await jwt_keys.disable(admin, "payroll")
    if audience.startswith("https"):
        await jwt_keys.enable(admin, "ledger", audience=audience)


@pytest.mark.parity("P2")
@pytest.mark.parametrize(("alg", "size"), [("HS256", 32), ("HS512", 64)])
async def test_the_exported_key_is_a_jwk_that_a_stock_library_takes(admin, alg, size, trail):
    """JWT export decodable by stock PyJWT with only key and audience."""
    enabled = await jwt_keys.enable(admin, "payroll", alg=alg)
    jwk = await jwt_keys.export(admin, "payroll")
    assert (jwk["kty"], jwk["alg"], jwk["kid"]) == ("oct", alg, enabled.kid)
    assert len(base64.urlsafe_b64decode(jwk["k"] + "=" * (-len(jwk["k"]) % 4))) == size
    key = jwt.PyJWK(jwk)
    token = jwt.encode({"aud": "payroll@example.org"}, key, algorithm=alg)
    assert jwt.decode(token, key, algorithms=[alg], audience="payroll@example.org")
    assert trail.names == ["jwt.enabled", "jwt.exported"]


async def test_rotation_keeps_two_keys_and_the_newest_signs(admin, trail):
    first = await jwt_keys.enable(admin, "payroll")
    old = await jwt_keys.export(admin, "payroll")
    second = await jwt_keys.rotate(admin, "payroll")
    assert [key.kid for key in await jwt_keys.listed(admin, "payroll")] == [second.kid, first.kid]
    assert await jwt_keys.export(admin, "payroll", kid=first.kid) == old
    assert (await jwt_keys.export(admin, "payroll"))["kid"] == second.kid
    third = await jwt_keys.rotate(admin, "payroll")
    assert [key.kid for key in await jwt_keys.listed(admin, "payroll")] == [third.kid, second.kid]
    with pytest.raises(Misconfigured, match="not-found"):
        await jwt_keys.export(admin, "payroll", kid=first.kid)
    assert third.alg == "HS256"
    assert trail.names.count("jwt.rotated") == 2


async def test_disabling_erases_the_keys(admin):
    await jwt_keys.enable(admin, "payroll")
    await jwt_keys.disable(admin, "payroll")
    shown = await principals.show(admin, "payroll")
    assert (shown.record.jwt_alg, shown.record.jwt_audience, shown.jwt_keys) == (None, None, ())


@pytest.mark.parity("L2")
async def test_an_opaque_key_never_leaves_the_kdc(admin, store, trail):
    """Tokens that the target cannot read, and so cannot make."""
    await jwt_keys.enable(admin, "payroll", alg="opaque")
    await jwt_keys.rotate(admin, "payroll")
    assert {key.alg for key in await jwt_keys.listed(admin, "payroll")} == {"opaque"}
    generation = store.peek_head()
    with pytest.raises(Misconfigured, match="conflict"):
        await jwt_keys.export(admin, "payroll")
    assert (store.peek_head(), trail.names) == (generation, ["jwt.enabled", "jwt.rotated"])


async def test_extra_claims_are_named_changed_and_forgotten(admin, trail):
    await jwt_keys.enable(admin, "payroll", claims=["tenant", "region", "tenant"])
    assert (await principals.show(admin, "payroll")).record.token_claims == ("region", "tenant")
    assert (await jwt_keys.set_claims(admin, "payroll", ["shop"])).token_claims == ("shop",)
    for refused in (["sub"], ["a"] * 2 + ["B"]):
        with pytest.raises(Misconfigured, match="value-invalid"):
            await jwt_keys.set_claims(admin, "payroll", refused)
    assert (await principals.show(admin, "payroll")).record.token_claims == ("shop",)
    await jwt_keys.disable(admin, "payroll")
    assert (await principals.show(admin, "payroll")).record.token_claims == ()
    with pytest.raises(Misconfigured, match="not-found"):
        await jwt_keys.set_claims(admin, "payroll", ["shop"])
    assert trail.names == ["jwt.enabled", "jwt.claims-changed", "jwt.disabled"]
    assert trail.events[0][1]["claims"] == "region tenant"


async def test_enabling_twice_is_refused(admin, trail):
    await jwt_keys.enable(admin, "payroll")
    with pytest.raises(Misconfigured, match="already-exists"):
        await jwt_keys.enable(admin, "payroll", alg="HS512")
    assert trail.names == ["jwt.enabled"]


@pytest.mark.parity("L28")
@pytest.mark.parametrize("changes", [{"alg": "none"}, {"alg": "RS256"}, {"audience": ""}, {"audience": "a b"},
                                     {"audience": "ä"}, {"audience": "a" * 257}, {"claims": ["exp"]}])  # fmt: skip
async def test_what_is_not_supported_is_refused(admin, trail, changes):
    with pytest.raises(Misconfigured, match="value-invalid"):
        await jwt_keys.enable(admin, "payroll", **changes)
    assert trail.names == []
    assert (await principals.show(admin, "payroll")).jwt_keys == ()


async def test_nobody_is_not_found(admin):
    for case in (jwt_keys.enable, jwt_keys.disable, jwt_keys.rotate, jwt_keys.export, jwt_keys.listed):
        with pytest.raises(Misconfigured, match="not-found"):
            await case(admin, "nobody")
