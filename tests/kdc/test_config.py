import re
from itertools import product
from pathlib import Path

import pytest

from orthros_kdc.config import KDC_SETTINGS, Config
from orthros_protocol.errors import Misconfigured

ROOT = Path(__file__).parents[2]


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "kdc.toml"
        file.write_text(text, "utf-8")
        return file

    return write


def refusal(*arguments) -> str:
    with pytest.raises(Misconfigured) as caught:
        KDC_SETTINGS.load(*arguments)
    assert caught.value.code == "config-invalid"
    return caught.value.detail


@pytest.mark.parity("H3", "P16")
def test_defaults_are_safe_and_documented() -> None:
    """Everything has a default, listed in one table; nothing listens beyond the host."""
    config = KDC_SETTINGS.load(None, {})
    assert config == Config()
    assert config.listen.tcp == ("127.0.0.1:7788",)
    assert config.listen.unix_mode == 0o660
    assert not config.http.is_on
    assert config.http.unix_mode == 0o660
    opened = ("plain", "paladin", "simple_token", "accept_token_url_audience")
    assert [name for name in opened if getattr(config.http, name)] == []
    assert config.http.trusted_proxies == ()
    assert config.http.max_body == 32 * 1024
    shown = KDC_SETTINGS.shown(config, effective=True)
    assert [(name, source) for name, _, source in shown] == [(row.name, "default") for row in KDC_SETTINGS.rows]
    assert KDC_SETTINGS.shown(config, effective=False) == []
    for row in KDC_SETTINGS.rows:
        assert row.help
        assert row.kind.allowed
        section, key = row.name.split(".")
        assert KDC_SETTINGS.variable_of(row) == f"ORTHROS_{section.upper()}_{key.upper()}"


@pytest.mark.parity("P16")
@pytest.mark.parametrize(("in_file", "in_environment", "in_flag"), list(product((False, True), repeat=3)))
def test_flag_over_environment_over_file_over_default(written, in_file, in_environment, in_flag) -> None:
    """The whole matrix of precedence, and `config show --effective` tells which one won."""
    file = written("version = 1\n" + ("[log]\nlevel = 'debug'\n" if in_file else ""))
    environ = {"ORTHROS_LOG_LEVEL": "warning"} if in_environment else {}
    overrides = {"log.level": "error" if in_flag else None}
    expected = (
        ("error", "log.level")
        if in_flag
        else ("warning", "ORTHROS_LOG_LEVEL")
        if in_environment
        else ("debug", f"{file}: [log] level")
        if in_file
        else ("info", "default")
    )
    config = KDC_SETTINGS.load(file, environ, overrides)
    assert config.log.level == expected[0]
    assert ("log.level", *expected) in KDC_SETTINGS.shown(config, effective=True)


HTTP_VALUES = {
    "tcp": ("127.0.0.1:8441", "127.0.0.1:8442", "127.0.0.1:8443"),
    "unix": ("/run/file.sock", "/run/environment.sock", "/run/flag.sock"),
    "unix_mode": ("0600", "0640", "0666"),
    "tls_cert": ("/file.pem", "/environment.pem", "/flag.pem"),
    "tls_key": ("/file.key", "/environment.key", "/flag.key"),
    "plain": ("true", "true", "true"),
    "public_url": ("https://file.test", "https://environment.test/a", "http://flag.test:8080"),
    "trusted_proxies": ("10.0.0.0/8", "fd00::/8, unix", "unix"),
    "accept_token_url_audience": ("true", "true", "true"),
    "paladin": ("true", "true", "true"),
    "simple_token": ("true", "true", "true"),
    "max_body": ("1024", "2048", "4096"),
    "max_assertion_s": ("60", "120", "3600"),
}


@pytest.mark.parity("P16")
@pytest.mark.parametrize("key", HTTP_VALUES)
@pytest.mark.parametrize(("in_file", "in_environment", "in_flag"), list(product((False, True), repeat=3)))
def test_each_http_setting_follows_the_same_precedence(written, key, in_file, in_environment, in_flag) -> None:
    """The matrix for every key of `[http]`; H3: without any layer the default."""
    values = HTTP_VALUES[key]
    row = next(row for row in KDC_SETTINGS.rows if row.name == f"http.{key}")
    quoted = f'"{values[0]}"' if str in row.kind.types else values[0]
    other = {"tls_cert": "tls_key", "tls_key": "tls_cert"}.get(key)  # one without the other is an error
    pair = f'{other} = "/pair"\n' if other and (in_file or in_environment or in_flag) else ""
    file = written("version = 1\n[http]\n" + pair + (f"{key} = {quoted}\n" if in_file else ""))
    variable = KDC_SETTINGS.variable_of(row)
    environ = {variable: values[1]} if in_environment else {}
    overrides = {row.name: values[2] if in_flag else None}
    layers = [
        (values[2], row.flag or row.name, in_flag),
        (values[1], variable, in_environment),
        (values[0], f"{file}: [http] {key}", in_file),
    ]
    default = (row.kind.show(row.default), "default", True)
    expected = next((value, source) for value, source, given in [*layers, default] if given)
    assert (f"http.{key}", *expected) in KDC_SETTINGS.shown(KDC_SETTINGS.load(file, environ, overrides), effective=True)


def test_every_http_setting_is_in_the_matrix() -> None:
    assert {row.name for row in KDC_SETTINGS.rows if row.name.startswith("http.")} == {
        f"http.{key}" for key in HTTP_VALUES
    }


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "kdc.corp.example:80", "localhost.x:80"])
def test_secrets_go_beyond_this_host_only_under_tls_or_on_purpose(address) -> None:
    """Each of the ways out is named."""
    found = refusal(None, {}, {"http.tcp": address})
    for way in ("tls_cert and tls_key", "loopback address", "Unix socket", "plain = true"):
        assert way in found
    assert KDC_SETTINGS.load(None, {}, {"http.tcp": address, "http.plain": "true"}).http.is_on
    pair = {"http.tls_cert": "/tls.pem", "http.tls_key": "/tls.key"}
    assert KDC_SETTINGS.load(None, {}, {"http.tcp": address, **pair}).http.is_on


@pytest.mark.parametrize("address", ["127.0.0.1:80", "127.9.9.9:0", "[::1]:80", "localhost:80"])
def test_http_on_this_host_may_be_plain(address) -> None:
    assert KDC_SETTINGS.load(None, {}, {"http.tcp": address}).http.tcp == address


def test_proxies_are_a_list_in_the_file_and_one_text_elsewhere(written) -> None:
    file = written("version = 1\n[http]\ntrusted_proxies = ['10.0.0.0/8', 'unix', '2001:DB8::1']\n")
    expected = ("10.0.0.0/8", "unix", "2001:db8::1/128")
    assert KDC_SETTINGS.load(file, {}).http.trusted_proxies == expected
    environ = {"ORTHROS_HTTP_TRUSTED_PROXIES": "10.0.0.0/8,unix, 2001:db8::1"}
    assert KDC_SETTINGS.load(None, environ).http.trusted_proxies == expected


@pytest.mark.parity("P16")
def test_every_setting_can_be_written_in_each_layer(written) -> None:
    """What one layer can say, all of them can."""
    table = KDC_SETTINGS.rows
    shown = {row.name: row.kind.show(row.default) for row in table}
    quoted = {row.name: f'"{shown[row.name]}"' if str in row.kind.types else shown[row.name] for row in table}
    text = "version = 1\n"
    for section in dict.fromkeys(row.name.split(".")[0] for row in table):
        text += f"[{section}]\n"
        text += "".join(
            f"{name.split('.')[1]} = {value}\n" for name, value in quoted.items() if name.startswith(section)
        )
    environ = {KDC_SETTINGS.variable_of(row): shown[row.name] for row in table}
    file = written(text)
    for sources, config in (
        ([f"{file}: [{row.name.replace('.', '] ')}" for row in table], KDC_SETTINGS.load(file, {})),
        (list(environ), KDC_SETTINGS.load(None, environ)),
        ([row.flag or row.name for row in table], KDC_SETTINGS.load(None, {}, shown)),
    ):
        assert config == Config()
        assert [found for _, _, found in KDC_SETTINGS.shown(config, effective=True)] == sources


@pytest.mark.parity("P16", "K17")
@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "version is missing; write `version = 1` at the top"),
        ("version = 2", "version is 2"),
        ("version = true", "version is True"),
        ("version = 1\n[listn]", ": there is no setting 'listn'; write [listen]"),
        ("version = 1\nlisten = 5", ": listen is a section; write [listen] and its settings below"),
        ("version = 1\n[listen]\ntpc = ''", "[listen]: there is no setting 'tpc'; known: tcp, unix, unix_mode"),
        ("version = 1\n[listen]\ntcp = 7788", "[listen] tcp: 7788 is not up to 16 of host:port such as 127.0.0.1:7788"),
        ("version = 1\n[listen]\ntcp = 'localhost'", "is not host:port such as"),
        ("version = 1\n[listen]\ntcp = '::1:7788'", "is not host:port such as"),
        ("version = 1\n[listen]\ntcp = '[::g]:7788'", "is not host:port such as"),
        ("version = 1\n[listen]\ntcp = 'localhost:70000'", "is not host:port such as"),
        ("version = 1\n[listen]\nunix_mode = 660", "an octal mode in quotes"),
        ("version = 1\n[listen]\nunix_mode = '0999'", "an octal mode in quotes"),
        (f"version = 1\n[listen]\nunix = '/{'x' * 107}'", "a value of 110 characters is not a path of at most 107"),
        ("version = 1\n[limits]\nmax_frame = 70000", "70000 is not a whole number from 1024 to 65536"),
        ("version = 1\n[limits]\nmax_frame = true", "True is not a whole number"),
        ("version = 1\n[limits]\nmax_frame = 2048.0", "2048.0 is not a whole number"),
        ("version = 1\n[limits]\nread_deadline_s = nan", "nan is not a number from 0.1 to 600"),
        ("version = 1\n[rate]\nper_source_per_s = inf", "inf is not a number"),
        ("version = 1\n[audit]\nwriter = 'admin'", "and not admin"),
        ("version = 1\n[audit]\nwriter = '../x'", "writer: '../x' is not"),
        ("version = 1\n[store]\npath = ''", "path: '' is not a path"),
        ("version = 1\n[log]\nlevel = 'loud'", "'loud' is not one of debug, info, warning, error"),
        ("version = 1\n[listen]\ntcp = ''", "at least one is needed"),
        (
            "version = 1\n[limits]\nmax_connections = 5\n",
            "max_unauthenticated_connections is 512; at most max_connections, 5, is allowed",
        ),
        ("version = 1\n[http]\ntls_cert = '/tls.pem'", "tls_cert and tls_key go together"),
        ("version = 1\n[http]\ntrusted_proxies = ['10.0.0.0/8', 7]", "7 is not a network such as 10.0.0.0/8"),
        ("version = 1\n[http]\ntrusted_proxies = '10.0.0.1/8'", "is not a network such as"),
        ("version = 1\n[http]\ntrusted_proxies = '0.0.0.0/0'", "is not a network such as"),
        ("version = 1\n[http]\ntrusted_proxies = '10.0.0.0/8,,unix'", "is not a network such as"),
        (
            f"version = 1\n[http]\ntrusted_proxies = {[f'10.0.0.{n}' for n in range(65)]}",
            "is not up to 64 of a network",
        ),
        ("version = 1\n[http]\nplain = 'true'", "'true' is not true or false"),
        ("version = 1\n[http]\nplain = 1", "1 is not true or false"),
        ("version = 1\n[http]\npublic_url = 'kdc.corp.example'", "is not a URL such as"),
        ("version = 1\n[http]\npublic_url = 'https://kdc.corp.example/'", "is not a URL such as"),
        ("version = 1\n[http]\npublic_url = 'https://kdc.corp.example?x'", "is not a URL such as"),
        ("version = 1\n[http]\nmax_body = 100000", "100000 is not a whole number from 1024 to 65536"),
        ("version = 1\n[listen\n", "line 2"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(written, text, detail) -> None:
    """File, key and what is allowed."""
    file = written(text)
    found = refusal(file, {})
    assert detail in found
    assert str(file) in found or found.startswith("[")


@pytest.mark.parity("P16")
@pytest.mark.parametrize(
    ("variable", "value", "detail"),
    [
        ("ORTHROS_LISTEN_TPC", "x", "ORTHROS_LISTEN_TPC sets nothing: write ORTHROS_LISTEN_TCP"),
        ("ORTHROS_NOWHERE", "1", "ORTHROS_NOWHERE sets nothing: unset it"),
        ("ORTHROS_LIMITS_MAX_FRAME", "1e4", "ORTHROS_LIMITS_MAX_FRAME: '1e4' is not a whole number"),
        ("ORTHROS_LIMITS_MAX_FRAME", "", "ORTHROS_LIMITS_MAX_FRAME: '' is not a whole number"),
        ("ORTHROS_LIMITS_MAX_FRAME", "٤٠٩٦", "is not a whole number"),
        ("ORTHROS_LIMITS_MAX_FRAME", "9" * 5000, "is not a whole number"),
        ("ORTHROS_RATE_PER_SOURCE_PER_S", "inf", "is not a number"),
        ("ORTHROS_RATE_PER_SOURCE_PER_S", "1_000", "is not a number"),
        ("ORTHROS_HTTP_PLAIN", "True", "ORTHROS_HTTP_PLAIN: 'True' is not true or false"),
        ("ORTHROS_HTTP_PLAIN", "", "is not true or false"),
        ("ORTHROS_HTTP_POT", "1", "ORTHROS_HTTP_POT sets nothing: "),
    ],
)
def test_an_environment_variable_that_cannot_be_used_says_why(variable, value, detail) -> None:
    """A misspelt variable is an error, not a silent default."""
    assert detail in refusal(None, {variable: value})


@pytest.mark.parity("P16")
def test_variables_of_other_programs_are_left_alone() -> None:
    """The daemon and the master key have variables of their own."""
    environ = {"ORTHROS_SOCKET": "unix:///x", "ORTHROS_STORE_MASTER_KEY": "ort1m_abc", "PATH": "/bin"}
    environ |= {"ORTHROS_DAEMON_KDCS": "tcp://kdc:1", "ORTHROS_CONFIG": "kdc.toml"}
    # Kubernetes sets such variables for services that are named orthros and orthros-kdc.
    environ |= {
        "ORTHROS_SERVICE_HOST": "10.0.0.1",
        "ORTHROS_KDC_PORT_7788_TCP_ADDR": "10.0.0.1",
        "ORTHROS_PORT": "tcp://10.0.0.1:1",
    }
    assert KDC_SETTINGS.load(None, environ) == Config()
    # The same name with a number is no such variable, and likely meant for a setting.
    with pytest.raises(Misconfigured, match="ORTHROS_LISTEN_PORT sets nothing"):
        KDC_SETTINGS.load(None, {"ORTHROS_LISTEN_PORT": "7788"})


@pytest.mark.parity("P16")
def test_every_variable_of_another_program_is_known() -> None:
    """A new variable must not keep the KDC from starting."""
    packages = [ROOT / "client" / "orthros_client", ROOT / "kdc" / "orthros_kdc", ROOT / "tools" / "orthros_tools"]
    found = {name for package in packages for path in package.rglob("*.py")
             for name in re.findall(r"\"(ORTHROS_[A-Z_]+)\"", path.read_text("utf-8"))}  # fmt: skip
    assert {"ORTHROS_SOCKET", "ORTHROS_REPLAY_STORE"} <= found
    assert KDC_SETTINGS.load(None, dict.fromkeys(found - {KDC_SETTINGS.prefix}, "x")) == Config()


@pytest.mark.parity("P16")
@pytest.mark.parametrize(
    ("listen", "http", "is_refused"),
    [
        ("127.0.0.1:7788", "127.0.0.1:7788", True),
        ("127.0.0.1:1, [::]:7788", "127.0.0.1:7788", True),
        ("127.0.0.1:7788", "127.0.0.1:7789", False),
        ("127.0.0.1:7788", "127.0.0.2:7788", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_one_port_is_not_listened_at_twice(listen, http, is_refused) -> None:
    """Said by `config validate`, and not by the kernel at the start."""
    flags = {"listen.tcp": listen, "http.tcp": http}
    if is_refused:
        assert f"[http] tcp {http} is a port of [listen] tcp" in refusal(None, {}, flags)
    else:
        assert KDC_SETTINGS.load(None, {}, flags).http.tcp == http
    assert "the path of [listen] unix" in refusal(None, {}, {"listen.unix": "/a", "http.unix": "/a"})


def test_empty_switches_a_listener_off() -> None:
    config = KDC_SETTINGS.load(None, {"ORTHROS_LISTEN_TCP": "", "ORTHROS_LISTEN_UNIX": "/run/orthros/kdc.sock"})
    assert (config.listen.tcp, config.listen.unix) == ((), "/run/orthros/kdc.sock")
    assert KDC_SETTINGS.load(None, {"ORTHROS_LISTEN_TCP": "[::1]:0"}).listen.tcp == ("[::1]:0",)


def test_an_unknown_flag_is_a_mistake() -> None:
    assert "no setting listen.tpc" in refusal(None, {}, {"listen.tpc": "x"})
    assert "rate.per_source_burst: 5 is not" in refusal(None, {}, {"rate.per_source_burst": "5"})
    assert refusal(None, {}, {"listen.unix_mode": "9"}).startswith("listen.unix_mode: '9' is not")
    assert refusal(None, {}, {"listen.tcp": "x"}).startswith("--tcp: 'x' is not")


def test_a_key_in_the_place_of_its_path_is_refused_and_not_repeated() -> None:
    """CVE-2018-16889: error messages end up in logs."""
    for key in ("ort1m_" + "a" * 20, "ort1m_" + "a" * 70):
        found = refusal(None, {"ORTHROS_STORE_MASTER_KEY_FILE": key})
        assert "aaaa" not in found
        assert "is not a path" in found


@pytest.mark.parity("K17")
def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(Misconfigured, match=r"file-unreadable.*none\.toml"):
        KDC_SETTINGS.load(tmp_path / "none.toml", {})


def test_bytes_that_are_not_text_are_refused(tmp_path) -> None:
    (tmp_path / "kdc.toml").write_bytes(b"version = 1 # \xff")
    assert "utf-8" in refusal(tmp_path / "kdc.toml", {})


@pytest.mark.parity("P16")
def test_reload_takes_what_can_change_and_lists_what_waits(written) -> None:
    """SIGHUP never half-applies a setting silently."""
    running = KDC_SETTINGS.load(None, {}, {"listen.unix": "/run/a"})
    fresh = KDC_SETTINGS.load(
        written("version = 1\n[listen]\nunix = '/run/b'\n[rate]\nper_source_per_s = 5\n[log]\nformat = 'json'\n"), {}
    )
    now, waiting = KDC_SETTINGS.reload(running, fresh)
    assert now.rate.per_source_per_s == 5
    assert now.listen.unix == "/run/a"
    assert now.log.format == "auto"
    assert waiting == ("listen.unix", "log.format")
    assert now.source_of("rate.per_source_per_s").endswith("kdc.toml: [rate] per_source_per_s")
    assert now.source_of("listen.unix") == "--unix"
    assert now.source_of("log.format") == "default"


def test_a_nest_without_end_is_a_bad_file_and_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "kdc.toml"
    file.write_text("version = 1\nx = " + "[" * 20_000)
    with pytest.raises(Misconfigured, match="config-invalid"):
        KDC_SETTINGS.load(file, {})
