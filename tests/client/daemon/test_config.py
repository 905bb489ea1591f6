from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from orthros_client.daemon.config import DAEMON_SETTINGS
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import Principal
from orthros_runtime.serving.peers import Peer

MINIMAL = 'version = 1\nkdcs = ["tcp://kdc:1"]\n'


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "daemon.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parity("P16")
@pytest.mark.parametrize(("in_file", "in_environment", "in_flag"), list(itertools.product([False, True], repeat=3)))
def test_flags_beat_environment_beats_file(
    tmp_path: Path, *, in_file: bool, in_environment: bool, in_flag: bool
) -> None:
    """Precedence, and each value says where it came from."""
    path = written(tmp_path, MINIMAL + ("drain_s = 1\n" if in_file else ""))
    environ = {"ORTHROS_DAEMON_DRAIN_S": "2", "ORTHROS_SOCKET": "/elsewhere"} if in_environment else {}
    config = DAEMON_SETTINGS.load(path, environ, {"drain_s": "3" if in_flag else None})
    expected = (3.0, "--drain-s") if in_flag else (2.0, "ORTHROS_DAEMON_DRAIN_S") if in_environment else None
    expected = expected or ((1.0, f"{path}: drain_s") if in_file else (5.0, "default"))
    assert (config.drain_s, config.source_of("drain_s")) == expected


def test_a_path_begins_at_the_folder_of_the_file_and_elsewhere_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, work = tmp_path / "etc", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    section = (
        '[[forward_auth]]\nsocket = "f.sock"\ndialect = "nginx"\nkeytab = "v.key"\norigins = ["https://a.example"]\n'
    )
    (folder / "daemon.toml").write_text(
        'version = 1\nkdcs = ["tcp://kdc:1"]\nkeytab = "keys/web.key"\ncache_file = "/var/cache"\n' + section
    )
    monkeypatch.chdir(work)
    environ = {"ORTHROS_DAEMON_HTTP_SOCKET": "http.sock"}
    config = DAEMON_SETTINGS.load("../etc/daemon.toml", environ, {"socket": "web.sock"})
    assert config.keytab == f"{folder}/keys/web.key"
    assert config.cache_file == "/var/cache"
    assert (config.socket, config.http_socket) == (f"{work}/web.sock", f"{work}/http.sock")
    assert config.login == ""
    (forward,) = config.forward_auth
    assert (forward.socket, forward.keytab) == (f"{folder}/f.sock", f"{folder}/v.key")


def test_a_working_directory_that_is_gone_stops_only_what_begins_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    environ = {"ORTHROS_DAEMON_KDCS": "tcp://kdc:1", "ORTHROS_DAEMON_KEYTAB": "/etc/web.key"}
    assert DAEMON_SETTINGS.load(None, environ).keytab == "/etc/web.key"
    with pytest.raises(Misconfigured, match="ORTHROS_DAEMON_KEYTAB: the working directory: No such file"):
        DAEMON_SETTINGS.load(None, environ | {"ORTHROS_DAEMON_KEYTAB": "web.key"})


@pytest.mark.parity("P16")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('kdcs = ["tcp://kdc:1"]\n', "version is missing; write `version = 1` at the top"),
        ('version = 2\nkdcs = ["tcp://kdc:1"]\n', "version"),
        ("version = 1\n", "kdcs names no KDC"),
        ("version = 1\nkdcs = [\n", "daemon.toml"),
        (MINIMAL + "drain_s = " + "9" * 5000, "daemon.toml"),
        ("version = 1\ndrain_s = " + "[" * 5000, "daemon.toml"),
        ('version = 1\nkdcs = ["tcp://kdc..example:1"]\n', "'tcp://kdc..example:1' is not tcp://host:port"),
        (MINIMAL + "sokket = '/x'\n", "there is no setting 'sokket'; write socket"),
        (MINIMAL + "socket = ''\n", "socket: '' is not a path"),
        (MINIMAL + f"socket = '{'x' * 108}'\n", "is not a path of at most 107 bytes"),
        (MINIMAL + "socket = '/x'\nhttp_socket = '/x'\n", "http_socket: the same path as socket"),
        (MINIMAL + "socket_mode = '0999'\n", "socket_mode: '0999' is not an octal mode"),
        (MINIMAL + "drain_s = true\n", "drain_s: True is not a number"),
        (MINIMAL + "drain_s = '3'\n", "drain_s: '3' is not a number"),
        (MINIMAL + "drain_s = 'soon'\n", "drain_s: 'soon' is not a number"),
        (MINIMAL + "connections = 0\n", "connections: 0 is not a whole number"),
        (MINIMAL + "log_format = 'xml'\n", "log_format: 'xml' is not one of text, json"),
        ('version = 1\nkdcs = ["kdc:1"]\n', "'kdc:1' is not tcp://host:port or unix:///path"),
        ('version = 1\nkdcs = ["tcp://a:1", "tcp://a:1"]\n', "each once"),
        (MINIMAL + "allow = 3\n", "allow: expected"),
        (MINIMAL + "[[allow]]\ntargets = ['orders']\n", "allow rule 1: expected one of uid and gid"),
        (MINIMAL + "[[allow]]\nuid = 1\ngid = 1\ntargets = ['orders']\n", "allow rule 1"),
        (MINIMAL + "[[allow]]\nuid = -1\ntargets = ['orders']\n", "allow rule 1: uid"),
        (MINIMAL + "[[allow]]\nuid = 1\n", "allow rule 1: targets"),
        (MINIMAL + "[[allow]]\nuid = 1\ntargets = ['Orders']\n", "allow rule 1: targets: target 'Orders'"),
        (MINIMAL + "[[allow]]\nuid = 1\ntargets = ['orders*']\n", "allow rule 1: targets"),
        (MINIMAL + "workers = 3\n", "workers is a section; write [workers] and"),
        (MINIMAL + "[workers]\nlife = 3\n", "[workers]: there is no setting 'life'; known: lifetime_s, "),
        (MINIMAL + "[workers]\nlifetime_s = 0\n", "[workers] lifetime_s: 0 is not a whole number"),
        (MINIMAL + "[workers]\nlifetime_s = 86401\n", "[workers] lifetime_s: "),
        (MINIMAL + "[workers]\nlifetime_s = true\n", "[workers] lifetime_s: "),
        (
            MINIMAL + "[workers]\nallow = [3]\n",
            "[workers] allow: expected up to 1024 tables such as those of [[allow]]",
        ),
        (MINIMAL + "[[workers.allow]]\nuid = 1\n", "[workers] allow rule 1: targets"),
        (MINIMAL + "[[workers.allow]]\nuid = 1\ntargets = ['Orders']\n", "[workers] allow rule 1: targets: target"),
        (MINIMAL + "login = '/x'\nkeytab = '/y'\n", "login: a daemon has a key file or a login file, not both"),
        (MINIMAL + "login = '/x'\ncache_file = '/y'\n", "cache_file: without a key file"),
        (MINIMAL + "login = '\\u0000'\n".replace("'", '"'), "is not a path"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    """File and key, never a stack trace."""
    with pytest.raises(Misconfigured, match="config-invalid") as caught:
        DAEMON_SETTINGS.load(written(tmp_path, text), {})
    assert place in caught.value.detail


@pytest.mark.parity("P16")
def test_unknown_variables_and_values_are_named(tmp_path: Path) -> None:
    """A typing error in the environment is not silently ignored."""
    path = written(tmp_path, MINIMAL)
    with pytest.raises(Misconfigured) as caught:
        DAEMON_SETTINGS.load(path, {"ORTHROS_DAEMON_DRIAN_S": "2"})
    detail = "the environment variable ORTHROS_DAEMON_DRIAN_S sets nothing: write ORTHROS_DAEMON_DRAIN_S, or unset it"
    assert caught.value.detail == detail
    with pytest.raises(Misconfigured, match="ORTHROS_DAEMON_DRAIN_S: '\u0661' is not a number"):
        DAEMON_SETTINGS.load(path, {"ORTHROS_DAEMON_DRAIN_S": "\u0661"})
    with pytest.raises(Misconfigured) as caught:
        DAEMON_SETTINGS.load(path, {}, {"cache_entries": "many"})
    assert caught.value.detail.startswith("--cache-entries: 'many' is not a whole number")


@pytest.mark.parity("P16")
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="file-unreadable"):
        DAEMON_SETTINGS.load(str(tmp_path / "none.toml"), {})


@pytest.mark.parity("K4")
def test_rules_open_the_sockets_and_name_their_targets(tmp_path: Path) -> None:
    """Per uid or gid, explicit targets of the own realm unless they say another."""
    text = MINIMAL + '[[allow]]\nuid = 7\ntargets = ["orders", "x@b.realm"]\n[[allow]]\ngid = 8\ntargets = "all"\n'
    config = DAEMON_SETTINGS.load(written(tmp_path, text), {})
    first, second = config.rules("a.realm")
    assert first.uid == 7
    assert first.targets == frozenset({Principal("a.realm", "orders"), Principal("b.realm", "x")})
    assert (second.gid, second.targets) == (8, None)
    assert config.mode == 0o666
    assert DAEMON_SETTINGS.load(written(tmp_path, MINIMAL), {}).mode == 0o600
    assert (
        DAEMON_SETTINGS.load(None, {"ORTHROS_DAEMON_KDCS": "tcp://a:1, tcp://b:2"}, {"socket_mode": "0660"}).mode
        == 0o660
    )


@pytest.mark.parity("K4")
def test_workers_are_nobody_unless_listed(tmp_path: Path) -> None:
    """Rules like those of the allow-list, and a longest life."""
    terms = DAEMON_SETTINGS.load(written(tmp_path, MINIMAL), {}).worker_terms("a.realm")
    assert (terms.rules, terms.lifetime_s) == ((), 600)
    text = MINIMAL + '[workers]\nlifetime_s = 60\n[[workers.allow]]\nuid = 0\ntargets = ["orders"]\n'
    config = DAEMON_SETTINGS.load(written(tmp_path, text), {})
    terms = config.worker_terms("a.realm")
    root = Peer(0, frozenset())
    assert terms.permits(root, Principal("a.realm", "orders"))
    assert not terms.permits(root, Principal("b.realm", "orders"))
    assert not terms.permits(Peer(1, frozenset()), Principal("a.realm", "orders"))
    assert terms.lifetime_s == 60
    assert config.mode == 0o600
    rows = DAEMON_SETTINGS.shown(config, effective=True)
    assert ("workers.allow uid 0", "orders", f"{tmp_path}/daemon.toml: [workers] allow") in rows
    assert ("workers.lifetime_s", "60", f"{tmp_path}/daemon.toml: [workers] lifetime_s") in rows


@pytest.mark.parity("P16")
def test_every_setting_is_shown_with_its_source(tmp_path: Path) -> None:
    """`config show --effective`."""
    rows = DAEMON_SETTINGS.shown(DAEMON_SETTINGS.load(written(tmp_path, MINIMAL), {}), effective=True)
    assert [name for name, _, _ in rows] == [row.name for row in DAEMON_SETTINGS.rows]
    assert ("kdcs", "tcp://kdc:1", f"{tmp_path}/daemon.toml: kdcs") in rows
    assert all(row.help for row in DAEMON_SETTINGS.rows)
