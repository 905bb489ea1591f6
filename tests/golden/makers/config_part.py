"""The settings of KDC and daemon: what `config show` and `config validate` say, and every kind of value that is bad."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Final

from tests.golden.makers.programs import Run, run

_FILES: Final = {
    "kdc.toml": """\
version = 1
[store]
path = "/var/lib/orthros/kdc.db"
master_key_file = "/etc/orthros/master.key"
[listen]
tcp = "127.0.0.1:7788"
""",
    "daemon.toml": """\
version = 1
keytab = "/etc/orthros/web.keytab"
kdcs = ["tcp://kdc-a:7788", "unix:///run/kdc.sock"]
socket = "/run/orthros/web.sock"

[[allow]]
uid = 1000
targets = ["orders", "ledger@other.example"]
[[allow]]
gid = 100
targets = "all"

[workers]
lifetime_s = 900
[[workers.allow]]
uid = 1001
targets = ["orders"]

[[forward_auth]]
socket = "/run/orthros/forward.sock"
dialect = "nginx"
keytab = "/etc/orthros/orders.verify.key"
origins = ["https://orders.example"]
[[forward_auth.route]]
path = "/*"
""",
}
_BAD_VALUES: Final = (
    "true",
    "-1",
    "99999999999999",
    "1.5",
    '""',
    '"x y"',
    '"/\\u0000"',
    "[]",
    '["a", "a"]',
    "{}",
)
_BAD_TEXTS: Final = ("", "x y", "-1", "99999999999999", "1e3", "\u0661", "relative/path", "http://user@host/?q")
_BAD_FILES: Final = {
    "no version": "",
    "version 2": "version = 2\n",
    "version true": "version = true\n",
    "not TOML": "version = \n",
    "not UTF-8": "version = 1 # \udcff\n",
    "a key twice": "version = 1\nversion = 1\n",
    "an unknown section": "version = 1\n[nowhere]\nx = 1\n",
    "an unknown key": "version = 1\nnowhere = 1\n",
    "an unknown key in a section": "version = 1\n[store]\nnowhere = 1\n",
    "a section as a value": "version = 1\nstore = 1\n",
    "a value as a section": "version = 1\n[kdcs]\nx = 1\n",
}
_DAEMON: Final = 'version = 1\nkdcs = ["tcp://kdc-a:1"]\n'
_BAD_SECTIONS: Final = (
    "allow = 1",
    "[[allow]]",
    "[[allow]]\nuid = 1",
    '[[allow]]\nuid = 1\ngid = 1\ntargets = "all"',
    '[[allow]]\nuid = -1\ntargets = "all"',
    '[[allow]]\nuid = true\ntargets = "all"',
    '[[allow]]\nuid = 1\ntargets = "some"',
    "[[allow]]\nuid = 1\ntargets = []",
    '[[allow]]\nuid = 1\ntargets = ["Orders"]',
    '[[allow]]\nuid = 1\ntargets = "all"\nx = 1',
    "workers = 1",
    "[workers]\nx = 1",
    "[workers]\nlifetime_s = 0",
    "[workers]\nlifetime_s = 86401",
    "[workers]\nallow = 1",
    "forward_auth = 1",
    "[[forward_auth]]",
    '[[forward_auth]]\nsocket = "/a"',
    '[[forward_auth]]\nsocket = "/a"\ndialect = "other"',
    '[[forward_auth]]\nsocket = "relative"\ndialect = "nginx"',
    '[[forward_auth]]\nsocket = "/a"\ndialect = "nginx"\nx = 1',
    '[[forward_auth]]\nsocket = "/a"\ndialect = "nginx"\nkeytab = "/k"\norigins = []',
    '[[forward_auth]]\nsocket = "/a"\ndialect = "nginx"\nkeytab = "/k"\norigins = ["orders"]',
    '[[forward_auth]]\nsocket = "/a"\ndialect = "nginx"\nkeytab = "/k"\norigins = ["https://o"]\nroute = 1',
    '[[forward_auth]]\nsocket = "/a"\ndialect = "nginx"\nkeytab = "/k"\norigins = ["https://o"]\n'
    '[[forward_auth.route]]\npath = "a"',
    '[[forward_auth]]\nsocket = "/a"\ndialect = "nginx"\nkeytab = "/k"\norigins = ["https://o"]\n'
    '[[forward_auth.route]]\npath = "/a"\nx = 1',
)  # fmt: skip
_KDC: Final = "version = 1\n"
_KDC_WHOLES: Final = (
    '[listen]\ntcp = ""\n',
    '[http]\ntcp = "0.0.0.0:443"\n',
    '[http]\ntcp = "127.0.0.1:443"\ntls_cert = "/a"\n',
    '[http]\nunix = "/a"\n[listen]\nunix = "/a"\n',
    '[http]\ntcp = "127.0.0.1:7788"\n[listen]\ntcp = "127.0.0.1:7788"\n',
)

_ABOVE: Final = {
    "orthros-kdc": ("ORTHROS_LISTEN_TCP", "127.0.0.1:1", "--tcp", "127.0.0.1:2"),
    "orthros-daemon": ("ORTHROS_DAEMON_SOCKET", "/run/a.sock", "--socket", "/run/b.sock"),
}
_DETAIL: Final = re.compile(r"(.*?\.) \((.*)\)")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="orthros-golden-") as own, chdir(own):
        for name, text in _FILES.items():
            Path(name).write_text(text, encoding="utf-8")
        for program, variable in (("orthros-kdc", "ORTHROS"), ("orthros-daemon", "ORTHROS_DAEMON")):
            name = program.removeprefix("orthros-")
            config = f"{name}.toml"
            (folder / f"{name}-shown.txt").write_text("\n".join(_shown(program, variable, config)), encoding="utf-8")
            settings = [line.split()[0] for line in run(program, "config", "show", "--effective", "--config",
                                                        config).out.splitlines()]  # fmt: skip
            settings = [one for one in settings if one not in ("allow", "workers.allow", "forward_auth")]
            (folder / f"{name}-bad-values.txt").write_text(_table(_bad_values(program, settings)), encoding="utf-8")
            texts = _table(_bad_texts(program, variable, config, settings))
            (folder / f"{name}-bad-variables.txt").write_text(texts, encoding="utf-8")
            (folder / f"{name}-bad-files.txt").write_text(_table(_bad_files(program)), encoding="utf-8")


def _shown(program: str, variable: str, config: str) -> Iterator[str]:
    for words in ("config show", "config show --effective", "config validate", "config frobnicate", "config"):
        yield run(program, *words.split(), "--config", config).shown()
    yield run(program, "config", "show").shown()
    yield run(program, "config", "validate", "--config", "missing.toml").shown()
    yield run(program, "config", "validate", "--config", ".").shown()
    with _environment({f"{variable}_CONFIG": config}):
        yield f"{variable}_CONFIG={config}"
        yield run(program, "config", "show").shown()
    name, value, *flag = _ABOVE[program]
    with _environment({name: value}):
        yield f"{name}={value}"
        yield run(program, "config", "show", "--config", config).shown()
        yield run(program, "config", "show", "--config", config, *flag).shown()
    with _environment({f"{variable}_NOWHERE": "1"}):
        yield f"{variable}_NOWHERE=1"
        yield run(program, "config", "validate", "--config", config).shown()


Case = tuple[str, Run]


def _table(cases: Iterator[Case]) -> str:
    """A line for each case: what was written, exit code and detail; what is said around the detail once, at the end."""
    lines, rest = [], set[str]()
    for what, told in cases:
        first, *more = (told.err or told.out).splitlines()
        if found := _DETAIL.fullmatch(first):
            more.append(f"{found[1]} (...)")
        lines.append(f"{what:40} -> {told.code} {found[2] if found else first}\n")
        rest.update(more)
    return "".join([*lines, "\n", *(f"{line}\n" for line in sorted(rest))])


def _validate(program: str, text: str) -> Run:
    Path("bad.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    return run(program, "config", "validate", "--config", "bad.toml")


def _bad_values(program: str, settings: list[str]) -> Iterator[Case]:
    for setting in settings:
        section, _, key = setting.rpartition(".")
        for value in _BAD_VALUES:
            head = "" if key == "kdcs" or program == "orthros-kdc" else 'kdcs = ["tcp://kdc-a:1"]\n'
            head += f"[{section}]\n" if section else ""
            yield f"{setting} = {value}", _validate(program, f"version = 1\n{head}{key} = {value}\n")


def _bad_texts(program: str, variable: str, config: str, settings: list[str]) -> Iterator[Case]:
    for setting in settings:
        name = f"{variable}_{setting.replace('.', '_').upper()}"
        for text in _BAD_TEXTS:
            with _environment({name: text}):
                yield f"{name}={text!a}", run(program, "config", "validate", "--config", config)


def _bad_files(program: str) -> Iterator[Case]:
    for name, text in _BAD_FILES.items():
        yield name, _validate(program, text)
    sections = (_DAEMON, _BAD_SECTIONS) if program == "orthros-daemon" else (_KDC, _KDC_WHOLES)
    for text in sections[1]:
        yield re.sub(r"\n(?!$)", "; ", text).strip(), _validate(program, f"{sections[0]}{text}\n")
