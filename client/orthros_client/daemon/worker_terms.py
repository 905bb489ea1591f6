"""Who may take a narrowed login for a worker, and how narrow it is: the `[workers]` section of the configuration.

Off unless configured, also for the daemon's own uid. Knows no messages; `give_login` only narrows what the session has.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from orthros_client.credentials.worker_login import WorkerLogin
from orthros_client.daemon.kdc.session import KdcSession, Login
from orthros_client.daemon.listeners.allow_list import AllowRule
from orthros_client.reasons import LOGIN_EXPIRED
from orthros_protocol.errors import Unavailable
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.names import Principal
from orthros_runtime.serving.peers import Peer

__all__ = ["WorkerTerms", "give_login"]


@frozen(kw_only=True)
class WorkerTerms:
    """The rules, and the longest life of a login in seconds."""

    rules: Sequence[AllowRule] = ()
    lifetime_s: int = 0

    def permits(self, peer: Peer, target: Principal) -> bool:
        """Whether the peer may take a login for `target`."""
        return any(rule.permits(peer, target) for rule in self.rules)


def give_login(
    session: KdcSession,
    login: Login,
    *,
    targets: Sequence[Principal],
    scopes: tuple[str, ...] | None,
    lifetime_s: int,
) -> WorkerLogin:
    """`login` narrowed to `targets`, `scopes` (None: all) and at most `lifetime_s` seconds.

    Raises what `WorkerLogin.narrowed` raises, or Unavailable `login-expired` when less than a second is left.
    """
    left_s = min(lifetime_s, int(login.credential.life.left_s(session.clock.elapsed_s())))
    if left_s < 1:
        raise Unavailable(LOGIN_EXPIRED, "the daemon's own login ends within a second")
    return WorkerLogin.narrowed(
        login.credential,
        uid=session.keytab.uid,
        targets=targets,
        scopes=scopes,
        expires=seconds_of(session.realm_now()) + left_s,
        offset_ms=session.offset_ms,
    )
