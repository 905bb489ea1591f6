"""The settings of a program: one table, from which follow its file, variables, flags, `config show` and documentation.

A program describes its configuration as an attrs class. Each field that `setting` made is a row of the table; `section`
puts rows under a `[section]` of the file, and `entries` is an array of tables that exists in the file only. Flags stand
above the environment, that above the file, that above the defaults. A path in the file begins at the file's folder,
any other at the working directory. What nobody knows is an error, because a misspelt setting that is passed over in
silence is a default that nobody wanted. Reads one TOML file and nothing else.
"""

from __future__ import annotations

import argparse
import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from os import PathLike
from os.path import abspath, dirname
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs
from attrs import NOTHING, field, frozen

from orthros_protocol.errors import Misconfigured
from orthros_runtime.kinds import ValueKind

__all__ = ["Configuration", "Setting", "SettingsTable", "add_actions", "entries", "read_entries", "section", "setting"]

_VERSION: Final = 1
# What Kubernetes sets in every container for a service of a name that begins like our variables.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$")
# And one more, which would be a likely misspelling of a setting if it held a number.
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://", re.ASCII)
_T = TypeVar("_T")


def setting(kind: ValueKind, default: object, help_text: str, *, reload: bool = False, flag: str = "") -> Any:
    """A field that is a setting. `default` as in TOML (attrs.NOTHING: it must be given).

    `reload`: a running program takes a new value on SIGHUP; else it needs a restart. `flag`: the name of its flag; a
    setting at the top of the file has a flag of its own name.
    """
    metadata = {"kind": kind, "help": help_text, "reload": reload, "flag": flag}
    return field(default=default if default is NOTHING else kind.check(default), metadata=metadata, kw_only=True)


def section(of: type[_T]) -> _T:
    """A field that is a section of the file: the settings of the class `of`."""
    made: _T = field(factory=of, metadata={"section": of}, kw_only=True)
    return made


def entries(
    read: Callable[[object, str, str], tuple[Any, ...]], show: Callable[[Any], tuple[str, str]], *, reload: bool
) -> Any:
    """A field that is an array of tables. `read` gets it as TOML, its place, and the folder of the file; `show` gives
    name and value of one."""
    return field(default=(), metadata={"read": read, "show": show, "reload": reload}, kw_only=True)


@frozen(kw_only=True)
class Configuration:
    """What the configurations of all programs have: where each value that is no default came from, by setting."""

    sources: Mapping[str, str] = field(factory=dict, eq=False, repr=False)

    def source_of(self, name: str) -> str:
        """The file and key, the variable or the flag that set it, or `default`."""
        return self.sources.get(name, "default")

    def check(self) -> None:
        """What must hold between settings. Raises Misconfigured `config-invalid`."""


@frozen(kw_only=True)
class Setting:
    """One row of the table: everything there is to say about a setting."""

    name: str
    kind: ValueKind
    default: object
    help: str
    reload: bool
    flag: str

    def shown(self, config: object) -> str:
        """Its value in a configuration, as text."""
        return self.kind.show(attrgetter(self.name)(config))


_C = TypeVar("_C", bound=Configuration)


@frozen
class SettingsTable(Generic[_C]):
    """All settings of one program, described by the class `of`.

    Every variable that begins with `prefix` is a setting, unless it is `elsewhere`: names, or with `_` at the end
    beginnings of names, that mean something to this program or another one.
    """

    of: type[_C]
    prefix: str
    elsewhere: tuple[str, ...] = ()
    rows: tuple[Setting, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(_rows(self.of)))

    @property
    def file_variable(self) -> str:
        """The environment variable that names the file."""
        return f"{self.prefix}CONFIG"

    def variable_of(self, row: Setting) -> str:
        """The environment variable that sets a row."""
        return self.prefix + row.name.replace(".", "_").upper()

    def add_flags(self, parser: argparse.ArgumentParser, only: str = "") -> None:
        """Adds `--config` and the flag of each setting, or of those whose names begin with `only`."""
        told = f"the configuration file (default: ${self.file_variable})"
        parser.add_argument("--config", metavar="FILE", help=told)
        for row in self.rows:
            if row.flag and row.name.startswith(only):
                parser.add_argument(row.flag, dest=row.name, metavar=row.kind.label, help=row.help)

    def load_flags(self, options: argparse.Namespace, environ: Mapping[str, str]) -> _C:
        """The configuration for a command line that `add_flags` described. Raises what `load` raises."""
        flags = {row.name: getattr(options, row.name, None) for row in self.rows}
        return self.load(options.config or environ.get(self.file_variable), environ, flags)

    def answer(self, options: argparse.Namespace, environ: Mapping[str, str]) -> str:
        """What `config validate` and `config show` print. Raises what `load` raises."""
        config = self.load_flags(options, environ)
        if options.action == "validate":
            return "the configuration is valid"
        rows = self.shown(config, effective=options.effective)
        wide, wider = (max((len(row[at]) for row in rows), default=0) for at in (0, 1))
        return "\n".join(f"{name:{wide}}  {value:{wider}}  {source}" for name, value, source in rows)

    def load(
        self,
        file: str | PathLike[str] | None,
        environ: Mapping[str, str],
        flags: Mapping[str, str | None] | None = None,
    ) -> _C:
        """The configuration. `flags` by name of the setting; None is a flag that was not given.

        Raises Misconfigured `config-invalid` or `file-unreadable`; the detail names the file and key, the variable or
        the flag, and what is allowed.
        """
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for layer in (_from_file(self.of, file), self._from_environment(environ), self._from_flags(flags or {})):
            for name, value, source in layer:
                values[name], sources[name] = value, source
        return self._made(values, sources)

    def reload(self, running: _C, fresh: _C) -> tuple[_C, tuple[str, ...]]:
        """What a running program takes over from `fresh` on SIGHUP, and the changed settings that need a restart."""
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        waiting = []
        for name, metadata in _names(self.of):
            value = attrgetter(name)
            chosen = fresh if metadata["reload"] else running
            values[name] = value(chosen)
            if name in chosen.sources:
                sources[name] = chosen.sources[name]
            if not metadata["reload"] and value(running) != value(fresh):
                waiting.append(name)
        return self._made(values, sources), tuple(waiting)

    def shown(self, config: _C, *, effective: bool) -> list[tuple[str, str, str]]:
        """Name, value and source of the settings that are no default, or with `effective` of all.

        No setting holds a secret: keys are named by the path of their file.
        """
        rows = [(row.name, row.shown(config), config.source_of(row.name)) for row in self.rows]
        for name, metadata in _names(self.of):
            if "show" in metadata:
                for entry in attrgetter(name)(config):
                    which, value = metadata["show"](entry)
                    rows.append((f"{name} {which}", value, config.source_of(name)))
        return [row for row in rows if effective or row[2] != "default"]

    def _made(self, values: Mapping[str, Any], sources: Mapping[str, str]) -> _C:
        made = attrs.evolve(_build(self.of, values), sources=sources)
        made.check()
        return made

    def _from_environment(self, environ: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
        known = {self.variable_of(row): row for row in self.rows}
        for variable in sorted(environ):
            row = known.get(variable)
            if row is not None:
                yield row.name, row.kind.read_text(environ[variable], variable), variable
            elif variable.startswith(self.prefix) and not self._is_elsewhere(variable, environ[variable]):
                near = _nearest(variable.removeprefix(self.prefix), [one.removeprefix(self.prefix) for one in known])
                hint = f"write {self.prefix}{near}, or unset it" if near else "unset it"
                raise Misconfigured("config-invalid", f"the environment variable {variable} sets nothing: {hint}")

    def _is_elsewhere(self, variable: str, value: str) -> bool:
        if variable == self.file_variable or _SERVICE_LINK.search(variable):
            return True
        if variable.endswith("_PORT") and _SERVICE_URL.match(value):
            return True
        return any(variable == one or (one.endswith("_") and variable.startswith(one)) for one in self.elsewhere)

    def _from_flags(self, flags: Mapping[str, str | None]) -> Iterator[tuple[str, Any, str]]:
        known = {row.name: row for row in self.rows}
        for name, text in flags.items():
            row = known.get(name)
            if row is None:
                raise Misconfigured("config-invalid", f"there is no setting {name}")
            if text is not None:
                source = row.flag or name
                yield name, row.kind.read_text(text, source), source


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Adds what the command `config` of a program can do; `SettingsTable.answer` does it."""
    parser.add_argument("action", choices=("show", "validate"))
    parser.add_argument("--effective", action="store_true", help="show every setting and where it comes from")


def read_entries(
    kinds: Mapping[str, ValueKind], table: Mapping[str, object], where: str, folder: str
) -> dict[str, Any]:
    """The values of a table of the file in `folder`, by key. Raises Misconfigured `config-invalid`."""
    for key in table:
        if key not in kinds:
            raise _unknown(where, key, kinds)
    return {key: kinds[key].read(value, f"{where}: {key}", folder) for key, value in table.items()}


def _unknown(where: str, key: str, known: Iterable[str]) -> Misconfigured:
    near = _nearest(key, known)
    hint = f"write {near}" if near else f"known: {', '.join(known)}"
    return Misconfigured("config-invalid", f"{where}: there is no setting {key!r}; {hint}")


def _written(key: str, facts: Mapping[str, Any]) -> str:
    return key if "kind" in facts else f"[{key}]" if "section" in facts else f"[[{key}]]"


def _nearest(word: str, known: Iterable[str]) -> str:
    return "".join(difflib.get_close_matches(word, [*known], n=1, cutoff=0.75))


def _names(of: type, above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for one in attrs.fields(of):
        if "section" in one.metadata:
            yield from _names(one.metadata["section"], f"{one.name}.")
        elif one.metadata:
            yield above + one.name, one.metadata | {"default": one.default}


def _rows(of: type) -> Iterator[Setting]:
    for name, facts in _names(of):
        if "kind" in facts:
            flag = facts["flag"] or ("" if "." in name else name.replace("_", "-"))
            yield Setting(
                name=name,
                kind=facts["kind"],
                default=facts["default"],
                help=facts["help"],
                reload=facts["reload"],
                flag=flag and f"--{flag}",
            )


def _build(of: type[_T], values: Mapping[str, Any], above: str = "") -> _T:
    given = {}
    for one in attrs.fields(of):  # type: ignore[arg-type]  # an attrs class, as `section` and the tables demand
        if "section" in one.metadata:
            given[one.name] = _build(one.metadata["section"], values, f"{one.name}.")
        elif above + one.name in values:
            given[one.name] = values[above + one.name]
    return of(**given)


def _from_file(of: type, file: str | PathLike[str] | None) -> Iterator[tuple[str, Any, str]]:
    if file is None:
        return iter(())
    try:
        document = tomllib.loads(Path(file).read_text("utf-8"))
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number or a nest without end
        raise Misconfigured("config-invalid", f"{file}: {error}") from None
    version = document.pop("version", None)
    if type(version) is not int or version != _VERSION:
        said = "is missing" if version is None else f"is {version!r}"
        raise Misconfigured("config-invalid", f"{file}: version {said}; write `version = {_VERSION}` at the top")
    return _from_table(of, document, f"{file}:", "", dirname(abspath(file)))


def _from_table(
    of: type, table: Mapping[str, object], where: str, above: str, folder: str
) -> Iterator[tuple[str, Any, str]]:
    known = {one.name: one.metadata for one in attrs.fields(of) if one.metadata}
    for key, value in table.items():
        if key not in known:
            raise _unknown(where.removesuffix(":"), key, [_written(*one) for one in known.items()])
        facts, source = known[key], f"{where} {key}"
        if "section" in facts:
            if not isinstance(value, dict):
                raise Misconfigured("config-invalid", f"{source} is a section; write [{key}] and its settings below")
            yield from _from_table(facts["section"], value, f"{where} [{key}]", f"{key}.", folder)
        else:
            read = facts["kind"].read if "kind" in facts else facts["read"]
            yield above + key, read(value, source, folder), source
