"""The wheel without extras in an environment of its own: no program and no import shows a traceback."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen

from orthros_client.daemon.config import DAEMON_SETTINGS
from tests.support.ports import free_port

pytestmark = pytest.mark.stories

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?(==[^ ;]+)", re.MULTILINE)
COMMAND = re.compile(r"[Rr]un `([^`]+)`")
# Every module of the five packages, and what its import raised: the whole family of an error, its message and remedy.
IMPORTS = """\
import importlib, json, pkgutil
found = {}
for top in ("orthros_protocol", "orthros_runtime", "orthros_kdc", "orthros_client", "orthros_tools"):
    for module in pkgutil.walk_packages(importlib.import_module(top).__path__, top + ".", onerror=lambda name: None):
        try:
            importlib.import_module(module.name)
            found[module.name] = None
        except BaseException as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            found[module.name] = [kinds, str(error), getattr(error, "remedy", "")]
print(json.dumps(found))
"""
# The help of every command below these words, as the program itself prints it.
HELP = """\
import argparse, importlib, sys
def walk(parser, *path):
    yield path
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from walk(below, *path, name)
module = importlib.import_module(sys.argv[1])
commands = list(walk(module.parser()))
main = getattr(module, "main", None) or module.run
for path in commands:
    try:
        code = main([*path, "--help"])
    except SystemExit as done:
        code = done.code
    assert not code, (path, code)
    print("\\n=", *path)
"""
PROGRAMS = {
    "orthros": ("orthros_client.cli.__main__", 12),
    "orthros-kdc": ("orthros_kdc.process.command", 5),
    "orthros-daemon": ("orthros_client.daemon.__main__", 3),
    "orthros-admin": ("orthros_tools.admin.__main__", 40),
}
"""Where each program reads its words, and how many commands it has at least."""


@frozen
class Installed:
    """An environment with the wheel and nothing but what the wheel itself depends on."""

    folder: Path
    wheel: Path

    def run(self, *words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "ORTHROS_SOCKET": f"{self.folder}/none.sock"}
        return subprocess.run(
            [self.folder / "bin" / words[0], *words[1:]],
            input=given, env=environ, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def complaint(self, *words: str | Path) -> str:
        """What a program that cannot do its work says: one explained error."""
        done = self.run(*words)
        assert done.returncode == 1, (words, done)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    def names(self, extra: str, said: str) -> bool:
        """Whether `said` names this extra, and the command for this wheel and this interpreter."""
        command = f"{self.folder}/bin/python -m pip install '{self.wheel}[{extra}]'"
        return f"in the extra {extra} of the wheel that you installed" in said and command in said


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("base")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input")
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pinned = "".join(f"{name}{version}\n" for name, version in PINNED.findall(_pins()))
    (folder / "pins.txt").write_text(pinned, "utf-8")
    words = ("--python", environment / "bin" / "python", "install", "--constraint", folder / "pins.txt", wheel)
    subprocess.run([*pip, *words], check=True)
    return Installed(environment, wheel)


def _pins() -> str:
    return (ROOT / "requirements" / "dev.txt").read_text("utf-8")


@pytest.mark.parity("O17")
@pytest.mark.timeout(300)
def test_every_import_of_the_base_install_works_or_names_its_extra(installed: Installed) -> None:
    """One typed error, which is an ImportError as well, with the command for this very wheel."""
    found: dict[str, Any] = json.loads(installed.run("python", "-c", IMPORTS).stdout)
    assert len(found) > 250
    missing = {name: raised for name, raised in found.items() if raised is not None}
    looked = installed.run("python", "-c", "import importlib.util; print(importlib.util.find_spec('workshop'))")
    assert looked.stdout == "None\n", "the workshop is not in the wheel"
    for name, (kinds, message, remedy) in missing.items():
        assert {"ExtraMissing", "Misconfigured", "ModuleNotFoundError"} <= set(kinds), (name, message)
        # The framework that an integration is for comes with no extra.
        if not name.startswith(("orthros_client.integrations.flask", "orthros_client.integrations.django")):
            extra = re.search(r"is in the extra ([a-z0-9]+) of the wheel that you installed", message)
            assert extra, (name, message)
            assert installed.names(extra[1], f"{message} {remedy}"), (name, message, remedy)
    # A service that verifies, and a program that calls through the blocking client, need no extra.
    needs_nothing = (
        "orthros_client.local.client",
        "orthros_client.verifier.verifier",
        "orthros_client.integrations.wsgi",
        "orthros_client.daemon.service",
        "orthros_tools.admin.realm_file",
    )
    assert not missing.keys() & set(needs_nothing)
    assert "orthros_client.integrations.asgi" in missing


@pytest.mark.parity("O17")
def test_every_program_of_the_base_install_explains_itself(installed: Installed) -> None:
    """Help of every command, and the version."""
    for program, (module, least) in PROGRAMS.items():
        done = installed.run(program, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        every = installed.run("python", "-c", HELP, module)
        assert (every.returncode, every.stderr) == (0, ""), program
        assert len(re.findall("^=", every.stdout, re.MULTILINE)) >= least
    for program in ("orthros", "orthros-kdc", "orthros-daemon"):
        assert installed.run(program, "version").returncode == 0


@pytest.mark.parity("O17")
def test_commands_that_need_an_extra_name_it(installed: Installed) -> None:
    """The programs print one explained error instead of a traceback."""
    folder, config = installed.folder, installed.folder / "kdc" / "kdc.toml"
    key = folder / "web.key"
    done = installed.run("orthros-kdc", "init", "--realm", "corp.test", "--data", folder / "kdc")
    assert (done.returncode, done.stderr) == (0, "")
    done = installed.run("orthros-admin", "--config", config, "principal", "add", "web", "--out", key)
    assert done.returncode == 0, done.stderr
    assert installed.names("httpx", installed.complaint("orthros", "call", "https://a.test/", "--target", "web"))
    assert installed.names("kdc", installed.complaint("orthros-kdc", "dev"))
    assert installed.names("kdc", installed.complaint("orthros-kdc", "serve", "--config", config))
    exported = installed.complaint("orthros-admin", "--config", config, "realm", "export", "-")
    assert installed.names("admin", exported)
    assert "http_socket" in {setting.name for setting in DAEMON_SETTINGS.rows}
    served = installed.complaint(
        "orthros-daemon", "--keytab", key, "--kdcs", f"tcp://127.0.0.1:{free_port()}",
        "--socket", folder / "d.sock", "--http-socket", folder / "h.sock",
    )  # fmt: skip
    assert installed.names("daemon", served)


@pytest.mark.parity("O17")
@pytest.mark.timeout(300)
def test_the_command_that_is_printed_mends_it(installed: Installed) -> None:
    """Typed as it stands, for one small extra."""
    found = COMMAND.search(installed.run("python", "-c", "import orthros_client.verifier.bearer").stderr)
    assert found
    words = [*shlex.split(found[1]), "--constraint", str(installed.folder.parent / "pins.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert installed.run("python", "-c", "import orthros_client.verifier.bearer").returncode == 0


@pytest.mark.parity("P15", "O17")
@pytest.mark.timeout(300)
def test_a_throw_away_realm_needs_the_extra_http_alone(installed: Installed) -> None:
    """Tickets and tokens; it says how to stop it, and ends without a complaint."""
    pip = (installed.folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    pins = installed.folder.parent / "pins.txt"
    subprocess.run([*pip, f"{installed.wheel}[http]", "--constraint", pins], check=True)
    environ = {"PATH": f"{installed.folder}/bin:/usr/bin:/bin", "HOME": str(installed.folder)}
    words = [str(installed.folder / "bin" / "orthros-kdc"), "dev"]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as dev:
        assert dev.stdout is not None
        said = ""
        try:
            while "Ctrl-C" not in said:
                line = dev.stdout.readline()
                assert line, f"it ended: {said}"
                said += line
            (address,) = re.findall(r"(http://127\.0\.0\.1:[0-9]+)/readyz", said)
            assert httpx.get(f"{address}/livez").status_code == 200
        finally:
            dev.terminate()
            _, complaint = dev.communicate(timeout=30)
        assert dev.returncode == 0, complaint
