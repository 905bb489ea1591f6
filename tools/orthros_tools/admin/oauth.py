"""`orthros-admin oauth`: enable, disable, secret, retire, list.

Knows where a client secret may go, and no grant; `orthros_kdc.admin.oauth_secrets` makes secrets. No option takes one.
"""

from __future__ import annotations

from argparse import Namespace

from orthros_kdc.admin import oauth_secrets
from orthros_kdc.vault import OAuthSecret
from orthros_tools.admin.command_line import PROGRAM, Nouns, Parser
from orthros_tools.admin.desk import Desk
from orthros_tools.admin.key_files import Destination
from orthros_tools.admin.screen import Answer, instant

__all__ = ["register"]


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("oauth", "principals that ask for tokens over HTTP, and their client secrets")
    enable = verbs.add(
        "enable", _enable, "lets a principal ask as an OAuth client, with a first client secret",
        examples=("oauth enable billing", "oauth enable shop/orders --out /etc/orthros/orders.oauth-secret",
                  "oauth enable batch --out - | ssh host 'umask 077; cat > batch.oauth-secret'"),
        notes="The client id is NAME. The secret is random, made here, and handed out once, in a file of mode 0600.\n"
              "What the client gets is a matter of policy, as ever. A target that introspects needs this too.",
    )  # fmt: skip
    _add_name_and_out(enable)

    disable = verbs.add("disable", _disable, "refuses a principal as an OAuth client; its secrets are erased",
                        examples=("oauth disable billing",),
                        notes="Its key file still works. Tokens that were issued before live on.")  # fmt: skip
    disable.add_argument("name", metavar="NAME")

    secret = verbs.add("secret", _secret, "a fresh client secret beside the one before",
                       examples=("oauth secret billing --out billing.oauth-secret.new",),
                       notes="Both are good: install the new one everywhere, then `oauth retire` the old one. Of\n"
                             "three, the oldest is erased.")  # fmt: skip
    _add_name_and_out(secret)

    retire = verbs.add("retire", _retire, "erases one client secret, which is refused from now on",
                       examples=("oauth retire billing --id 0f3a5c7e9b1d2f40",),
                       notes="`oauth list` shows the ids.")  # fmt: skip
    retire.add_argument("name", metavar="NAME")
    retire.add_argument("--id", metavar="ID", required=True, dest="secret_id", help="the id of the secret")

    listing = verbs.add("list", _list, "the OAuth clients and the ids of their secrets",
                        examples=("oauth list", "oauth list billing"))  # fmt: skip
    listing.add_argument("name", metavar="NAME", nargs="?", help="only this one")


def _add_name_and_out(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--out", metavar="FILE", help="where the secret goes; - for standard output "
                        "(default: NAME.oauth-secret here, with - for each /)")  # fmt: skip


async def _enable(desk: Desk, options: Namespace) -> Answer:
    destination = _destination(desk, options)
    async with desk.open_admin() as admin:
        secret = await oauth_secrets.enable(admin, options.name)
    said = f"{options.name} is an OAuth client now, client id {options.name}"
    return _handed_over(options.name, secret, destination, [said])


async def _secret(desk: Desk, options: Namespace) -> Answer:
    name = options.name
    destination = _destination(desk, options)
    async with desk.open_admin() as admin:
        secret = await oauth_secrets.rotate(admin, name)
        (client,) = await oauth_secrets.listed(admin, name)
    before = [held.secret_id for held in client.secrets if held.secret_id != secret.secret_id]
    said = [f"the secret before it, {one}, stays good" for one in before]
    said += [f"next: install the new one everywhere, then run {PROGRAM} oauth retire {name} --id {one}"
             for one in before]  # fmt: skip
    return _handed_over(name, secret, destination, said)


def _destination(desk: Desk, options: Namespace) -> Destination:
    out = f"{options.name.replace('/', '-')}.oauth-secret" if options.out is None else options.out
    return Destination.examined(out, json=desk.screen.json)


def _handed_over(name: str, secret: OAuthSecret, destination: Destination, said: list[str]) -> Answer:
    # Not `oauth secret` alone: it would push out the older secret, which clients may be using.
    again = f"{PROGRAM} oauth retire {name} --id {secret.secret_id} && {PROGRAM} oauth secret {name} --out FILE"
    destination.hand_over(f"{secret.text}\n".encode("ascii"), recover=again)
    row = {"name": name, "secret_id": secret.secret_id, "secret_file": str(destination)}
    remarks = [f"client secret {secret.secret_id} of {name} written to {destination}", *said]
    return Answer(rows=[row], remarks=remarks, handed_over=destination.path is None)


async def _disable(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        await oauth_secrets.disable(admin, options.name)
    row = {"name": options.name, "oauth": False}
    return Answer(rows=[row], remarks=[f"{options.name} is no OAuth client any more, its secrets are erased"])


async def _retire(desk: Desk, options: Namespace) -> Answer:
    name = options.name
    async with desk.open_admin() as admin:
        left = await oauth_secrets.retire(admin, name, options.secret_id)
    remarks = [f"client secret {options.secret_id} of {name} retired"]
    remarks += [] if left else [f"{name} has no client secret left: {PROGRAM} oauth secret {name} makes one"]
    return Answer(rows=[{"name": name, "secret_id": options.secret_id, "left": left}], remarks=remarks)


async def _list(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        found = await oauth_secrets.listed(admin, options.name)
    rows = [
        {
            "name": client.record.name,
            "state": "disabled" if client.record.disabled else "enabled",
            "sources": list(client.record.sources),
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
    return Answer(rows=rows, lines=lines, remarks=() if found else ("no OAuth client",))
