"""The import rules of the architecture, as far as import-linter cannot state them.

What each package may import from the standard library, which module owns which primitive, and how long a
file may grow. The arrows between the packages are contracts in pyproject.toml; one test here runs them.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    name: ROOT / folder / name
    for folder, name in (
        ("protocol", "orthros_protocol"),
        ("protocol", "orthros_runtime"),
        ("kdc", "orthros_kdc"),
        ("client", "orthros_client"),
        ("tools", "orthros_tools"),
    )
}
PROTOCOL = PACKAGES["orthros_protocol"]
RUNTIME = PACKAGES["orthros_runtime"]

# Time arrives as `now`, chance as `entropy`; sockets and logs belong to the caller.
NOT_IN_PROTOCOL = {
    "trio",
    "structlog",
    "socket",
    "ssl",
    "time",
    "random",
    "secrets",
    "logging",
    "os.urandom",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.date.today",
}
PROTOCOL_DEPENDENCIES = {"attr", "attrs", "cryptography", "msgpack", "orthros_protocol"}

# Path from the root of the repository -> why this module may hash on its own.
HASHING_EXCEPTIONS: dict[str, str] = {
    "client/orthros_client/http/message_signatures.py": "RFC 9421 names HMAC-SHA-256, which the protocol does not use",
}

LONGEST = 400
EXCUSE = "Longer than 400 lines because"

SLEEPS = {"time.sleep", "trio.sleep", "anyio.sleep", "asyncio.sleep"}


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Each absolute import as (what is imported, the local name it binds, what that name stands for)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield alias.name, alias.asname or top, alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                yield dotted, alias.asname or alias.name, dotted


def local_names(tree: ast.Module) -> dict[str, str]:
    return {local: dotted for _, local, dotted in imports(tree)}


def resolve(node: ast.expr, names: dict[str, str]) -> str | None:
    """`t.sleep` -> `time.sleep` after `import time as t`; None for anything but a dotted name."""
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=value, attr=attribute):
            owner = resolve(value, names)
            return owner and f"{owner}.{attribute}"
        case _:
            return None


@cache  # every rule looks at every file; kept are the names, since trees in memory slow down every test after these
def used(path: Path) -> frozenset[str]:
    """Every dotted name that a module imports or reaches through an import."""
    tree = parse(path)
    names = local_names(tree)
    reached = {resolve(node, names) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return frozenset({dotted for dotted, _, _ in imports(tree)} | {dotted for dotted in reached if dotted})


def touches(path: Path, *prefixes: str) -> set[str]:
    return {
        dotted for dotted in used(path) for prefix in prefixes if dotted == prefix or dotted.startswith(f"{prefix}.")
    }


def only_in(owners: set[str], paths: list[Path], *prefixes: str) -> list[str]:
    return [
        f"{relative(path)}: {sorted(found)}"
        for path in paths
        if relative(path) not in owners and (found := touches(path, *prefixes))
    ]


def test_protocol_knows_no_clock_chance_network_or_log() -> None:
    assert only_in(set(), sources(PROTOCOL), *sorted(NOT_IN_PROTOCOL)) == []


def test_protocol_depends_on_three_distributions() -> None:
    allowed = PROTOCOL_DEPENDENCIES | sys.stdlib_module_names
    strangers = [
        f"{relative(path)}: {dotted}"
        for path in sources(PROTOCOL)
        for dotted, _, _ in imports(parse(path))
        if dotted.partition(".")[0] not in allowed
    ]
    assert strangers == []


def test_only_serving_needs_trio() -> None:
    """The rest of the runtime package stands under services, which run whatever loop they like."""
    serving = sources(RUNTIME / "serving")
    paths = [path for path in sources(RUNTIME) if path not in serving]
    assert only_in(set(), paths, "trio", "anyio", "orthros_runtime.serving") == []


def test_ciphers_live_in_sealing() -> None:
    owners = {"protocol/orthros_protocol/primitives/sealing.py"}
    paths = sources(*PACKAGES.values())  # it times the bare cipher
    assert only_in(owners, paths, "cryptography.hazmat.primitives.ciphers") == []


def test_hashing_lives_in_derivation() -> None:
    owners = {"protocol/orthros_protocol/primitives/derivation.py", *HASHING_EXCEPTIONS}
    paths = [path for name, folder in PACKAGES.items() if name != "orthros_tools" for path in sources(folder)]
    assert only_in(owners, paths, "hashlib", "hmac", "cryptography.hazmat.primitives.hmac") == []


def test_hashing_exceptions_exist_and_give_a_reason() -> None:
    assert [path for path, reason in HASHING_EXCEPTIONS.items() if not reason.strip()] == []
    assert [path for path in HASHING_EXCEPTIONS if not (ROOT / path).is_file()] == []


def test_files_are_touched_where_key_files_live() -> None:
    """docs/adr/0002: two modules of the protocol know the file system; keytab.py names the type of a path."""
    owners = {f"protocol/orthros_protocol/keys/{name}.py" for name in ("secret_file", "full_disk", "keytab")}
    assert only_in(owners, sources(PROTOCOL), "os", "pathlib", "tempfile", "shutil", "io", "fcntl") == []


def test_msgpack_lives_in_canonical() -> None:
    owners = {"protocol/orthros_protocol/primitives/canonical.py"}
    paths = sources(*PACKAGES.values())
    assert only_in(owners, paths, "msgpack") == []


def test_the_product_does_not_know_its_testing_kits() -> None:
    """A process that runs no code of theirs cannot be talked into their keys: tests/attacks/test_testing_keys.py."""
    kits = {
        path for package in PACKAGES.values() for path in sources(package) if {"testing", "testing.py"} & {*path.parts}
    }
    owners = {relative(path) for path in kits}
    names = ("orthros_client.testing", "orthros_kdc.testing", "orthros_protocol.testing")
    assert only_in(owners, sources(*PACKAGES.values()), *names) == []
    # Nor do they look at anything from outside that could be set for them.
    assert only_in(set(), sorted(kits), "os.environ", "os.getenv", "sys.argv") == []


def test_files_stay_short_or_say_why() -> None:
    unexcused = []
    for path in sources(*PACKAGES.values(), ROOT / "tools" / "workshop"):
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > LONGEST and EXCUSE not in "\n".join(lines[:5]):
            unexcused.append(f"{relative(path)}: {len(lines)} lines")
    assert unexcused == []


def test_no_test_sleeps() -> None:
    sleepers = []
    for path in sources(ROOT / "tests"):
        if "sleep" not in path.read_text(encoding="utf-8"):  # parsing all would take longer than all other rules
            continue
        tree = parse(path)
        names = local_names(tree)
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=function, args=[ast.Constant(value=int() | float() as pause), *_]) if (
                    pause > 0 and resolve(function, names) in SLEEPS
                ):
                    sleepers.append(f"{relative(path)}:{node.lineno}")
    assert sleepers == []


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_typed(name: str) -> None:
    assert (PACKAGES[name] / "py.typed").is_file()


def test_public_names_of_the_protocol_are_sorted_and_exist() -> None:
    protocol = import_module("orthros_protocol")
    names = list(protocol.__all__)

    def order(name: str) -> tuple[int, str]:  # the order of ruff's RUF022: constants, classes, functions
        constant = len(name) > 1 and name.isupper()
        return (0 if constant else 1 if name[:1].isupper() else 2, name)

    assert names == sorted(set(names), key=order)
    assert [name for name in names if not hasattr(protocol, name)] == []


@pytest.mark.parametrize("module", ["orthros_client.verifier", "orthros_client.http", "orthros_client.local.client"])
def test_what_is_embedded_loads_no_trio(module: str) -> None:
    """import-linter sees modules; this sees what importing one really loads."""
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    servers = ("trio", "orthros_runtime.serving", "orthros_client.daemon")
    assert [name for name in loaded.stdout.split() if name.startswith(servers)] == []


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    outcome = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
