"""`orthros-admin oauth`: enable, audience, disable, secret, retire, list.

Knows where a client secret may go, and no grant; `orthros_kdc.admin.oauth_secrets` makes secrets. No option takes one.
"""

from __future__ import annotations

from argparse import Namespace

from orthros_kdc.admin import oauth_secrets
from orthros_kdc.realm.vault import OAuthSecret
from orthros_runtime.command_line import Parser, usage
from orthros_runtime.screen import instant
from orthros_tools.admin.command_line import PROGRAM, Nouns
from orthros_tools.admin.consent import add_yes, require_consent
from orthros_tools.admin.key_files import Destination
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = ["register"]


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("oauth", "principals that ask for tokens over HTTP, and their client secrets")
    enable = verbs.add(
        "enable",
        _enable,
        "lets a principal ask as an OAuth client, with a first client secret",
        examples=(
            "oauth enable billing",
            "oauth enable billing --default-audience orders",
            "oauth enable shop/orders --out /etc/orthros/orders.oauth-secret",
            "oauth enable batch --out - | ssh host 'umask 077; cat > batch.oauth-secret'",
        ),
        notes="The client id is NAME. The secret is random, made here, and handed out once, in a file of mode 0600.\n"
        "What the client gets is a matter of policy, as ever. A target that introspects needs this too.",
    )
    _add_name_and_out(enable)
    enable.add_argument(
        "--default-audience", metavar="TARGET", help="the target of client_credentials requests that name none"
    )

    audience = verbs.add(
        "audience",
        _audience,
        "the target of a client's requests that name none",
        examples=("oauth audience billing orders", "oauth audience billing --none"),
        notes="For libraries that do not repeat `audience` when they renew a token, such as Authlib.\n"
        "A target that the request names goes first, and policy decides as ever.",
    )
    audience.add_argument("name", metavar="NAME")
    audience.add_argument(
        "target", metavar="TARGET", nargs="?", help="the name of a principal, in place of the one before"
    )
    audience.add_argument("--none", action="store_true", help="no default: such requests are refused")

    disable = verbs.add(
        "disable",
        _disable,
        "refuses a principal as an OAuth client; its secrets are erased",
        examples=("oauth disable billing", "oauth disable billing --yes"),
        notes="Asks first. Its key file still works. Tokens that were issued before live on.",
    )
    disable.add_argument("name", metavar="NAME")
    add_yes(disable)

    secret = verbs.add(
        "secret",
        _secret,
        "a fresh client secret beside the one before",
        examples=("oauth secret billing --out billing.oauth-secret.new",),
        notes="Both are good: install the new one everywhere, then `oauth retire` the old one. Of\n"
        "three, the oldest is erased.",
    )
    _add_name_and_out(secret)

    retire = verbs.add(
        "retire",
        _retire,
        "erases one client secret, which is refused from now on",
        examples=("oauth retire billing --id 0f3a5c7e9b1d2f40",),
        notes="`oauth list` shows the ids.",
    )
    retire.add_argument("name", metavar="NAME")
    retire.add_argument("--id", metavar="ID", required=True, dest="secret_id", help="the id of the secret")

    listing = verbs.add(
        "list", _list, "the OAuth clients and the ids of their secrets", examples=("oauth list", "oauth list billing")
    )
    listing.add_argument("name", metavar="NAME", nargs="?", help="only this one")


def _add_name_and_out(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where the secret goes; - for standard output (default: NAME.oauth-secret here, with - for each /)",
    )


async def _enable(desk: AdminSession, options: Namespace) -> Shown:
    destination = _destination(desk, options)
    async with desk.open_admin() as admin:
        secret = await oauth_secrets.enable(admin, options.name, default_audience=options.default_audience)
    said = [f"{options.name} is an OAuth client now, client id {options.name}"]
    said += [_said_of_default(options.name, options.default_audience)] if options.default_audience else []
    return _handed_over(options.name, secret, destination, said)


async def _audience(desk: AdminSession, options: Namespace) -> Shown:
    name, target = options.name, options.target
    if (target is None) != options.none:
        raise usage("which target is meant", "Name TARGET, or give --none.")
    async with desk.open_admin() as admin:
        await oauth_secrets.set_default_audience(admin, name, target)
    return Shown(rows=[{"name": name, "default_audience": target}], remarks=[_said_of_default(name, target)])


def _said_of_default(name: str, target: str | None) -> str:
    if target is None:
        return f"requests of {name} that name no target are refused"
    return f"requests of {name} that name no target are for {target}"


async def _secret(desk: AdminSession, options: Namespace) -> Shown:
    name = options.name
    destination = _destination(desk, options)
    async with desk.open_admin() as admin:
        secret = await oauth_secrets.rotate(admin, name)
        (client,) = await oauth_secrets.listed(admin, name)
    before = [held.secret_id for held in client.secrets if held.secret_id != secret.secret_id]
    said = [f"the secret before it, {one}, stays good" for one in before]
    said += [
        f"next: install the new one everywhere, then run {PROGRAM} oauth retire {name} --id {one}" for one in before
    ]
    return _handed_over(name, secret, destination, said)


def _destination(desk: AdminSession, options: Namespace) -> Destination:
    out = f"{options.name.replace('/', '-')}.oauth-secret" if options.out is None else options.out
    return Destination.examined(out, json=desk.screen.json)


def _handed_over(name: str, secret: OAuthSecret, destination: Destination, said: list[str]) -> Shown:
    # Not `oauth secret` alone: it would push out the older secret, which clients may be using.
    again = f"{PROGRAM} oauth retire {name} --id {secret.secret_id} && {PROGRAM} oauth secret {name} --out FILE"
    destination.hand_over(f"{secret.text}\n".encode("ascii"), recover=again)
    row = {"name": name, "secret_id": secret.secret_id, "secret_file": str(destination)}
    remarks = [f"client secret {secret.secret_id} of {name} written to {destination}", *said]
    return Shown(rows=[row], remarks=remarks, handed_over=destination.path is None)


async def _disable(desk: AdminSession, options: Namespace) -> Shown:
    name = options.name
    async with desk.open_admin() as admin:
        (client,) = await oauth_secrets.listed(admin, name)
        foretold = [f"would answer no request of {name} for a token over HTTP"]
        foretold += [f"would erase client secret {held.secret_id}" for held in client.secrets]
        default = client.record.default_audience
        foretold += [f"would forget the default target {default}"] if default else []
        require_consent(desk, foretold, f"Disable {name} as an OAuth client?", word=name, yes=options.yes)
        await oauth_secrets.disable(admin, name)
    row = {"name": name, "oauth": False}
    return Shown(rows=[row], remarks=[f"{name} is no OAuth client any more, its secrets are erased"])


async def _retire(desk: AdminSession, options: Namespace) -> Shown:
    name = options.name
    async with desk.open_admin() as admin:
        left = await oauth_secrets.retire(admin, name, options.secret_id)
    remarks = [f"client secret {options.secret_id} of {name} retired"]
    remarks += [] if left else [f"{name} has no client secret left: {PROGRAM} oauth secret {name} makes one"]
    return Shown(rows=[{"name": name, "secret_id": options.secret_id, "left": left}], remarks=remarks)


async def _list(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        found = await oauth_secrets.listed(admin, options.name)
    rows = [
        {
            "name": client.record.name,
            "state": "disabled" if client.record.disabled else "enabled",
            "sources": list(client.record.sources),
            "default_audience": client.record.default_audience,
            "default_is_gone": client.default_is_gone,
            "secrets": [{"secret_id": held.secret_id, "created": held.created} for held in client.secrets],
        }
        for client in found
    ]
    lines = [
        f"{client.record.name}: secret {held.secret_id}, since {instant(held.created)}"
        for client in found
        for held in client.secrets
    ]
    lines += [f"{client.record.name}: no secret" for client in found if not client.secrets]
    lines += [_default_line(client) for client in found if client.record.default_audience]
    return Shown(rows=rows, lines=lines, remarks=() if found else ("no OAuth client",))


def _default_line(client: oauth_secrets.OAuthClientShown) -> str:
    name, target = client.record.name, client.record.default_audience
    gone = f"; there is no such principal: {PROGRAM} oauth audience {name} TARGET" if client.default_is_gone else ""
    return f"{name}: default target {target}{gone}"
