"""`orthros-admin jwt`: enable, claims, disable, rotate, export.

Knows the forms of a JWT key that people install, and no token; `orthros_kdc.admin.jwt_keys` does the work.
"""

from __future__ import annotations

import json
from argparse import Namespace
from base64 import urlsafe_b64decode

from orthros_kdc.admin import jwt_keys, principals
from orthros_kdc.realm.vault import JWT_ALGORITHMS, OPAQUE
from orthros_runtime.command_line import Parser, usage
from orthros_tools.admin.command_line import PROGRAM, Nouns
from orthros_tools.admin.consent import add_yes, require_consent
from orthros_tools.admin.key_files import Destination
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = ["register"]


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("jwt", "JWTs for targets that check them with an ordinary library")
    enable = verbs.add(
        "enable",
        _enable,
        "a JWT key for a target",
        examples=(
            "jwt enable orders",
            "jwt enable orders --alg HS512 --audience https://orders.example",
            "jwt enable orders --alg opaque",
            "jwt enable orders --claim tenant --claim region",
        ),
        notes="Clients obtain JWTs for TARGET where a rule says --jwt. With --alg opaque they get handles that only\n"
        "the KDC can open: TARGET introspects them, and holds no key that could make one.",
    )
    enable.add_argument("target", metavar="TARGET")
    enable.add_argument("--alg", choices=tuple(JWT_ALGORITHMS), default="HS256", help="default: HS256")
    enable.add_argument("--audience", metavar="A", help="the one `aud` of its JWTs (default: TARGET@REALM)")
    _add_claims(enable)

    claims = verbs.add(
        "claims",
        _claims,
        "names the extra claims that clients may have put into its tokens",
        examples=("jwt claims orders --claim tenant --claim region", "jwt claims orders --none"),
        notes="They replace those before. What a client says there stands under `ext` in the token,\n"
        "and is the client's word: nobody has checked it.",
    )
    claims.add_argument("target", metavar="TARGET")
    _add_claims(claims)
    claims.add_argument("--none", action="store_true", help="no extra claims")

    disable = verbs.add(
        "disable",
        _disable,
        "no more JWTs for a target; its JWT keys are erased",
        examples=("jwt disable orders", "jwt disable orders --yes"),
        notes="Asks first. JWTs that were issued before stay valid where the key is still installed.",
    )
    disable.add_argument("target", metavar="TARGET")
    add_yes(disable)

    rotate = verbs.add(
        "rotate",
        _rotate,
        "a fresh JWT key that signs from now on",
        examples=("jwt rotate orders",),
        notes="The one before stays live, older ones are erased. Export and install the new key at\n"
        "once: until then TARGET meets a key id that it does not know.",
    )
    rotate.add_argument("target", metavar="TARGET")

    export = verbs.add(
        "export",
        _export,
        "the JWT key, for the target alone",
        examples=("jwt export orders --out orders.jwk", "jwt export orders --format hex --out orders.hex"),
        notes="Whoever holds it can make JWTs to TARGET in anybody's name.",
    )
    export.add_argument("target", metavar="TARGET")
    export.add_argument("--out", metavar="FILE", required=True, help="where the key goes; - for standard output")
    export.add_argument("--format", choices=("jwk", "hex"), default="jwk", help="jwk (RFC 7517, default), or hex")


def _add_claims(parser: Parser) -> None:
    parser.add_argument(
        "--claim",
        metavar="NAME",
        action="append",
        default=[],
        dest="claims",
        help="an extra claim: a-z, 0-9 and _; may be repeated",
    )


async def _enable(desk: AdminSession, options: Namespace) -> Shown:
    target = options.target
    async with desk.open_admin() as admin:
        key = await jwt_keys.enable(admin, target, alg=options.alg, audience=options.audience, claims=options.claims)
        record = (await principals.show(admin, target)).record
    claims = list(record.token_claims)
    if key.alg == OPAQUE:
        onward = f"next, so that {target} can introspect them: {PROGRAM} oauth enable {target}"
    else:
        onward = f"next: {PROGRAM} jwt export {target} --out {target.replace('/', '-')}.jwk"
    return Shown(
        rows=[{"target": target, "alg": key.alg, "audience": record.jwt_audience, "kid": key.kid, "claims": claims}],
        remarks=[
            f"JWTs for {target} enabled: {key.alg}, audience {record.jwt_audience}, key {key.kid}",
            *([f"extra claims: {' '.join(claims)}"] if claims else []),
            onward,
        ],
    )


async def _claims(desk: AdminSession, options: Namespace) -> Shown:
    if bool(options.claims) == options.none:
        raise usage("give --claim NAME, or --none", f"Read `{PROGRAM} jwt claims --help`.")
    async with desk.open_admin() as admin:
        record = await jwt_keys.set_claims(admin, options.target, options.claims)
    claims = list(record.token_claims)
    said = f"extra claims in tokens for {record.name}: {' '.join(claims) or 'none'}"
    return Shown(rows=[{"target": record.name, "claims": claims}], remarks=[said])


async def _disable(desk: AdminSession, options: Namespace) -> Shown:
    target = options.target
    async with desk.open_admin() as admin:
        held = await jwt_keys.listed(admin, target)
        foretold = [f"would issue no more tokens for {target}; introspection would answer that older ones are inactive"]
        foretold += [f"would erase JWT key {key.kid}" for key in held]
        require_consent(desk, foretold, f"Disable JWTs for {target}?", word=target, yes=options.yes)
        await jwt_keys.disable(admin, target)
    row = {"target": target, "alg": None}
    return Shown(rows=[row], remarks=[f"JWTs for {target} disabled, keys erased"])


async def _rotate(desk: AdminSession, options: Namespace) -> Shown:
    target = options.target
    async with desk.open_admin() as admin:
        key = await jwt_keys.rotate(admin, target)
    remarks = [f"JWTs for {target} are signed with key {key.kid} from now on"]
    if key.alg == OPAQUE:
        remarks = [f"tokens for {target} are sealed with key {key.kid} from now on"]
    else:
        remarks += [f"next: {PROGRAM} jwt export {target} --out FILE, and install it at once"]
    return Shown(rows=[{"target": target, "alg": key.alg, "kid": key.kid}], remarks=remarks)


async def _export(desk: AdminSession, options: Namespace) -> Shown:
    target = options.target
    destination = Destination.examined(options.out, json=desk.screen.json)
    async with desk.open_admin() as admin:
        jwk = await jwt_keys.export(admin, target)
    again = f"{PROGRAM} jwt export {target} --format {options.format} --out FILE"
    destination.hand_over(f"{_written(jwk, options.format)}\n".encode("ascii"), recover=again)
    row = {
        "target": target,
        "alg": jwk["alg"],
        "kid": jwk["kid"],
        "format": options.format,
        "key_file": str(destination),
    }
    said = f"JWT key {jwk['kid']} of {target} written to {destination}"
    return Shown(rows=[row], remarks=[said], handed_over=destination.path is None)


def _written(jwk: dict[str, str], form: str) -> str:
    if form == "jwk":
        return json.dumps(jwk)
    padded = jwk["k"] + "=" * (-len(jwk["k"]) % 4)
    return urlsafe_b64decode(padded).hex()
