"""MIT krb5 beside us in the same run, where its programs are installed: CPU of krb5kdc per exchange.

A throw-away realm on loopback, asked by kinit and kvno. Only the KDC's own CPU is counted; but those start a
process per request, and a KDC that idles in between finds its caches cold, so a tight loop would show less.
Needs Debian's krb5-kdc, krb5-admin-server and krb5-user.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from attrs import frozen

from workshop.bench.figures import cpu_seconds

__all__ = ["RECORDED", "Krb5", "measure_krb5"]

_PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "kvno")
_REQUESTS = 300
_CONFIG = """\
[libdefaults]
 default_realm = BENCH.LOCAL
 dns_lookup_kdc = false
 dns_lookup_realm = false
 rdns = false
[realms]
 BENCH.LOCAL = {{
  kdc = 127.0.0.1:{port}
 }}
"""
_KDC_CONFIG = """\
[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 BENCH.LOCAL = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  supported_enctypes = aes256-cts-hmac-sha384-192:normal aes256-cts:normal
  master_key_type = aes256-cts
 }}
[logging]
 kdc = FILE:{folder}/kdc.log
"""


@frozen
class Krb5:
    """CPU microseconds of krb5kdc for one AS exchange with pre-authentication and one TGS exchange."""

    name: str
    as_us: float
    tgs_us: float


RECORDED = Krb5("krb5kdc 1.20 (recorded)", 100.0, 97.0)
"""From another day on a machine of this kind at its best; a ratio with it is a hint, not a figure."""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _found(path: str) -> dict[str, str] | None:
    search = os.pathsep.join([path, "/usr/sbin", "/usr/local/sbin"])
    programs = {name: shutil.which(name, path=search) for name in _PROGRAMS}
    return None if None in programs.values() else {name: str(place) for name, place in programs.items()}


def measure_krb5(folder: Path) -> Krb5:
    """Today's figures, or the recorded ones where krb5 is not installed."""
    programs = _found(os.environ.get("PATH", ""))
    if programs is None:
        return RECORDED
    port = _free_port()
    (folder / "krb5.conf").write_text(_CONFIG.format(port=port), encoding="ascii")
    (folder / "kdc.conf").write_text(_KDC_CONFIG.format(port=port, folder=folder), encoding="ascii")
    environment = {
        **os.environ,
        "KRB5_CONFIG": str(folder / "krb5.conf"),
        "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
        "KRB5CCNAME": f"FILE:{folder}/ccache",
    }

    def run(program: str, *words: str) -> None:
        subprocess.run([programs[program], *words], env=environment, check=True, capture_output=True)

    run("kdb5_util", "create", "-s", "-P", "only for this bench", "-r", "BENCH.LOCAL")
    run("kadmin.local", "-q", "addprinc -randkey +requires_preauth svc/client")
    run("kadmin.local", "-q", "addprinc -randkey svc/target")
    run("kadmin.local", "-q", f"ktadd -k {folder}/client.kt svc/client")
    with subprocess.Popen(
        [programs["krb5kdc"], "-n"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as kdc:
        try:
            if kdc.stdout is None or not kdc.stdout.readline():
                return RECORDED

            def cpu_of(program: str, *words: str) -> float:
                run(program, *words)
                before = cpu_seconds(kdc.pid)
                for _ in range(_REQUESTS):
                    run(program, *words)
                return (cpu_seconds(kdc.pid) - before) / _REQUESTS * 1e6

            as_us = cpu_of("kinit", "-k", "-t", f"{folder}/client.kt", "svc/client")
            tgs_us = cpu_of("kvno", "-q", "--no-store", "svc/target")
        finally:
            kdc.send_signal(signal.SIGTERM)
            kdc.wait()
    return Krb5("krb5kdc, this run", as_us, tgs_us)
