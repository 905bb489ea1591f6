"""`python -m orthros_tools.bench`: runs every benchmark and prints two tables: times, and sizes."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from orthros_tools.bench.attenuated import measure_attenuated
from orthros_tools.bench.daemon_load import measure_daemon
from orthros_tools.bench.figures import render
from orthros_tools.bench.http_overhead import measure_http
from orthros_tools.bench.kdc_load import measure_kdc, running_kdc
from orthros_tools.bench.krb5_peer import RECORDED, measure_krb5
from orthros_tools.bench.library import measure_library
from orthros_tools.bench.policy_load import measure_policy
from orthros_tools.bench.sizes import render_sizes
from orthros_tools.bench.token_load import measure_tokens, running_oidc_provider


def main() -> int:
    """Prints the tables; figures of one run are comparable with each other only."""
    figures = measure_library() + measure_attenuated() + measure_policy() + measure_http()
    with tempfile.TemporaryDirectory(prefix="orthros-bench-") as name:
        folder = Path(name)
        peer = measure_krb5(folder)
        with running_kdc(folder / "realm") as kdc:
            figures += measure_kdc(kdc, peer)
            figures += measure_daemon(folder, kdc)
            missing = [name for name in ("wrk", "node", "npm") if shutil.which(name) is None]
            if not missing:
                with running_oidc_provider(folder) as provider:
                    figures += measure_tokens(kdc.tokens, provider, folder)
    print(render(figures))
    print(f"\nSize of one request along a call chain, by its depth:\n{render_sizes()}")
    if peer is RECORDED:
        print("\nkrb5 is not installed here, so its figures are from another day: those ratios are hints only.")
    if missing:
        print(f"\nNot installed here, so the token endpoint was not measured: {', '.join(missing)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
