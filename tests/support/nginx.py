"""nginx in a folder of its own: what every configuration of the tests begins with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["configured"]

_FRAME: Final = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr notice;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-1;
    proxy_temp_path {folder}/nginx-2;
    fastcgi_temp_path {folder}/nginx-3;
    uwsgi_temp_path {folder}/nginx-4;
    scgi_temp_path {folder}/nginx-5;
{servers}
}}
"""


def configured(folder: Path, servers: str) -> tuple[str, ...]:
    """Writes `folder`/nginx.conf with these blocks of the context http; the arguments of nginx that use it."""
    # As root, its workers would be another user, who cannot reach the sockets and files of a test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_FRAME.format(folder=folder, user=user, servers=servers), "utf-8")
    return ("-p", str(folder), "-c", str(config), "-e", "stderr")
