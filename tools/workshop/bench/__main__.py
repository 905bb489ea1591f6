"""`python -m workshop.bench`: runs every benchmark and prints tables: times, sizes, turns, and large realms."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from workshop.bench.attenuated import measure_attenuated
from workshop.bench.audit_load import measure_audit
from workshop.bench.daemon_load import measure_daemon
from workshop.bench.figures import render
from workshop.bench.http_overhead import measure_http
from workshop.bench.kdc_load import measure_kdc, running_kdc
from workshop.bench.krb5_peer import RECORDED, measure_krb5
from workshop.bench.library import measure_library
from workshop.bench.policy_load import measure_policy
from workshop.bench.realm_load import measure_realms, render_realms
from workshop.bench.sizes import render_sizes
from workshop.bench.token_load import measure_tokens, running_oidc_provider
from workshop.bench.turns_load import measure_turns, render_turns


def main() -> int:
    """Prints the tables; figures of one run are comparable with each other only."""
    figures = measure_library() + measure_attenuated() + measure_policy() + measure_http()
    with tempfile.TemporaryDirectory(prefix="orthros-bench-") as name:
        folder = Path(name)
        figures += measure_audit()
        peer = measure_krb5(folder)
        with running_kdc(folder / "realm") as kdc:
            figures += measure_kdc(kdc, peer)
            figures += measure_daemon(folder, kdc)
            missing = [name for name in ("wrk", "node", "npm") if shutil.which(name) is None]
            if not missing:
                with running_oidc_provider(folder) as provider:
                    figures += measure_tokens(kdc.tokens, provider, folder)
        turns = measure_turns(folder / "turns")
        realms = measure_realms(folder / "realms")
    print(render(figures))
    print(f"\nSize of one request along a call chain, by its depth:\n{render_sizes()}")
    print(f"\nWhat one source costs another one:\n{render_turns(turns)}")
    print(f"\nA KDC on large realms, idle and with ten changes a second:\n{render_realms(realms)}")
    if peer is RECORDED:
        print("\nkrb5 is not installed here, so its figures are from another day: those ratios are hints only.")
    if missing:
        print(f"\nNot installed here, so the token endpoint was not measured: {', '.join(missing)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
