"""`orthros replay renew`: every replay store of this user on this host begins a new memory.

For machines that are restored from a snapshot: there the clock may still be the old one when a service answers first.
"""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Callable
from typing import Final

from orthros_client.cli.output import OK, global_options, screen_of
from orthros_client.errors import Misconfigured
from orthros_client.verifier.stores.choice import file_name
from orthros_client.verifier.stores.folder import STATE_VARIABLE, folders
from orthros_runtime.command_line import Parser, add_command
from orthros_runtime.extras import extra

__all__ = ["register"]

_EXAMPLES: Final = ("orthros replay renew", "ORTHROS_STATE_DIR=/run/orders orthros replay renew")


def register(add: Callable[..., Parser]) -> None:
    """`orthros replay` and its own command `renew`."""
    parser = add(examples=_EXAMPLES, parents=[])
    add_command(
        parser.add_subparsers(dest="replay_command", required=True, metavar="COMMAND"),
        "renew",
        "begin new memories, so that no captured request of the past is accepted",
        notes="Run it as the user of the services when a virtual machine was restored from a snapshot, before its\n"
        "services answer. It looks where services of this user keep their stores; name another folder in\n"
        "ORTHROS_STATE_DIR. Callers of running services are refused once and repeat by themselves. Restart services\n"
        "with ORTHROS_REPLAY_STORE=memory instead. A Redis server needs nothing.",
        examples=_EXAMPLES,
        parents=[global_options()],
    ).set_defaults(run=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    """Raises Misconfigured when a store cannot be renewed, or none is found: nothing is known of it then."""
    # A folder that is named is the one that is meant: a slip of the pen must not report success elsewhere.
    named = os.environ.get(STATE_VARIABLE)
    looked = [named] if named else folders()
    paths = [path for one in looked for path in sorted(glob.glob(os.path.join(glob.escape(one), file_name("*"))))]
    if not paths:
        words = f"no replay store in {', '.join(looked)}: name the service's folder in ORTHROS_STATE_DIR"
        raise Misconfigured("not-found", words)
    for path in paths:
        _renew(path)
    screen_of(arguments).show_rows([{"store": path, "state": "renewed"} for path in paths])
    return OK


def _renew(path: str) -> None:
    with extra("wsgi"):
        from lmdb import Error as LmdbError

        from orthros_client.verifier.stores.host import HostStore
    try:
        HostStore(path).renew()
    except (OSError, LmdbError) as error:
        raise Misconfigured("file-unreadable", f"{path}: {error}") from None
