"""curl, and the page docs/oauth.md typed in from top to bottom: its lines, its samples, what it says of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from attrs import frozen

from tests.docs.pages import blocks, matches, transcript
from tests.interop.house import ROOT, House
from tests.support.peers import NODE_FOLDER, locate, require

PAGE = ROOT / "docs" / "oauth.md"
SAMPLES = ROOT / "docs" / "examples" / "jwt"
MODULES = NODE_FOLDER / "node_modules"
PROGRAMS = ("curl", "python", "(umask", "node")


@frozen
class Shell:
    """A shell in a folder with what the page says that a client and a target have."""

    house: House
    folder: Path

    def type(self, command: str) -> str:
        paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = self.house.run("env", f"PATH={paths}", "sh", "-c", self.here(command), cwd=self.folder)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert not done.stderr
        return done.stdout

    def here(self, text: str) -> str:
        """The page's names, as they are in this realm."""
        return text.replace("kdc.corp.example:8443", f"localhost:{self.house.port}").replace(
            "corp.example", "corp.test"
        )


@pytest.fixture(scope="module")
def shell(house: House, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    require("curl")
    folder = tmp_path_factory.mktemp("oauth")
    for file in (*SAMPLES.iterdir(), *(house.keys / name for name in ("orders.jwk", "shop.oauth-secret"))):
        shutil.copy(file, folder)
    for client in ("relay", "shop/web"):
        shutil.copy(house.secret_file(client), folder)
    (folder / "node_modules").symlink_to(MODULES)
    return Shell(house, folder)


@pytest.mark.parity("P2", "P17")
def test_the_page_word_for_word(shell: Shell) -> None:
    """What is shown below each line is what comes out."""
    typed = [line for block in blocks(PAGE, "console") for line in transcript(block) if line[0].startswith(PROGRAMS)]
    assert len(typed) == 13
    for command, shown in typed:
        if command.startswith("node") and not ((MODULES / "jose").is_dir() and locate("node")):
            continue  # test_node.py is loud about that
        found = shell.type(command)
        # Where nothing is shown, what comes out goes into a file, or there is nothing.
        assert matches(shell.here(shown).strip(), found.strip()), f"$ {command}\n{found}"
    assert (shell.folder / "shop.curl").stat().st_mode & 0o077 == 0


@pytest.mark.parity("P17")
def test_the_page_shows_the_samples_as_they_are() -> None:
    """Each sample is short, and the page has it to the letter."""
    shown = [*blocks(PAGE, "python"), *blocks(PAGE, "javascript")]
    files = [SAMPLES / name for name in ("token_client.py", "renewing_client.py", "verify_pyjwt.py", "verify_jose.mjs")]
    assert sorted(shown) == sorted(file.read_text("utf-8") for file in files)
    for sample in shown:
        code = [line for line in sample.splitlines() if line and not line.startswith(('"""', "//", "import", "from"))]
        assert len(code) <= 10


@pytest.mark.parametrize("client", ["shop", "shop/web"])
def test_secret_in_a_configuration_file(shell: Shell, client: str) -> None:
    """`user` in a file is -u without a trace in the list of processes; a client id with a slash needs no care."""
    secret = shell.house.secret(client)
    (shell.folder / "user.curl").write_text(f'user = "{client}:{secret}"\n', encoding="ascii")
    asked = "-d grant_type=client_credentials --data-urlencode 'resource=orthros:orders@corp.test'"
    answer = json.loads(shell.type(f"curl -sS -f -K user.curl https://kdc.corp.example:8443/token {asked}"))
    assert answer["token_type"] == "Bearer"
    # The same as a form, from a file as well.
    named = f"--data-urlencode client_id={client} --data-urlencode client_secret@user.secret"
    (shell.folder / "user.secret").write_text(secret, encoding="ascii")
    answer = json.loads(shell.type(f"curl -sS -f https://kdc.corp.example:8443/token {named} {asked}"))
    assert answer["token_type"] == "Bearer"


@pytest.mark.parity("P4")
def test_headers_that_a_script_may_read(shell: Shell) -> None:
    """The end without parsing, no cache in between, and a status."""
    asked = "https://kdc.corp.example:8443/token -d grant_type=client_credentials -d audience=orders"
    (shell.folder / "shop.curl").write_text(f'user = "shop:{shell.house.secret("shop")}"\n', encoding="ascii")
    head, _, body = shell.type(f"curl -sS -i -K shop.curl {asked}").replace("\r", "").partition("\n\n")
    lines = head.lower().split("\n")
    assert lines[0].startswith("http/1.1 200")
    assert "cache-control: no-store" in lines
    expiry = next(int(line.removeprefix("x-expiry: ")) for line in lines if line.startswith("x-expiry: "))
    looked = shell.house.post("/introspect", "shop", {"token": json.loads(body)["access_token"]})
    assert looked.json()["exp"] == expiry
    assert shell.type(f"curl -s -o /dev/null -w '%{{http_code}}' {asked}") == "401"
