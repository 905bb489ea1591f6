"""The stories of `../stories/http`: what the KDC's HTTP port and the daemon's HTTP socket answer.

A line is a method, a target, headers and a body. FORM, LOCAL and BASIC are headers; SECRET is the client secret of
shop, and TOKEN the first token that was given. Each request has a connection of its own.
"""

from __future__ import annotations

import re
import shlex
import socket
import tempfile
from argparse import ArgumentParser
from base64 import b64encode
from pathlib import Path
from typing import Final

from attrs import define

from tests.golden.makers.steady import Steady
from tests.golden.makers.street import Street, open_street
from tests.support.processes import found_realm

_STORIES: Final = Path(__file__).parents[1] / "stories" / "http"
_SETTING_UP: Final = """\
oauth enable shop --out {folder}/shop.oauth-secret
policy allow shop orders --scope list --jwt
jwt enable orders
"""


def make(folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="orthros-golden-") as own,
        open_street(found_realm(Path(own)), serves=False) as street,
    ):
        for line in _SETTING_UP.splitlines():
            street.estate.admin(line.format(folder=street.folder)).require()
        for story in sorted(_STORIES.glob("*.story")):
            asker = _Asker.of(street, story.stem)
            told = "\n".join(map(asker.told, story.read_text("utf-8").splitlines()))
            steady = Steady(exact=((str(street.folder), "FOLDER"), (asker.secret, "SECRET")), measured=True)
            (folder / f"{story.stem}.txt").write_text(steady.of(told), encoding="utf-8")


@define
class _Asker:
    """Asks at `address`, a path or a port. `words` stand for what a story cannot know."""

    address: str | int
    secret: str
    words: dict[str, str]

    @classmethod
    def of(cls, street: Street, whom: str) -> _Asker:
        secret = (street.folder / "shop.oauth-secret").read_text("ascii").strip()
        words = {
            "FORM": "Content-Type: application/x-www-form-urlencoded",
            "LOCAL": "Orthros-Local: 1",
            "BASIC": f"Authorization: Basic {b64encode(f'shop:{secret}'.encode()).decode()}",
            "SECRET": secret,
        }
        if whom == "daemon":
            return cls(str(street.folder / "http.sock"), secret, words)
        return cls(int(street.kdc.await_line(r"http://127\.0\.0\.1:(\d+)")[1]), secret, words)

    def told(self, line: str) -> str:
        """The line, and its answer."""
        if line.startswith("#"):
            return f"{line}\n"
        parser = ArgumentParser()
        parser.add_argument("method")
        parser.add_argument("target")
        parser.add_argument("-H", dest="headers", action="append", default=[])
        parser.add_argument("-d", dest="body", default="")
        asked = parser.parse_args(shlex.split(line))
        headers = [self.words.get(one, one) for one in asked.headers]
        body = asked.body
        for word, value in self.words.items():
            body = body.replace(word, value)
        if not any(one.startswith("Host:") for one in headers):
            headers.insert(0, "Host: localhost")
        head = [
            f"{asked.method} {asked.target} HTTP/1.1",
            *headers,
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        answer = self._exchange("\r\n".join([*head, "", body]).encode())
        if (found := re.search(r'"access_token": ?"([^"]+)"', answer)) is not None:
            self.words.setdefault("TOKEN", found[1])
        return f"$ {line}\n" + "".join(f"| {one}".rstrip() + "\n" for one in answer.splitlines())

    def _exchange(self, request: bytes) -> str:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        with socket.socket(family) as connection:
            connection.settimeout(10)
            connection.connect(self.address if isinstance(self.address, str) else ("127.0.0.1", self.address))
            connection.sendall(request)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        return answer.decode()
