"""docs/admin.md, typed in from top to bottom: every command runs and prints what the page shows."""

import re
from pathlib import Path

from tests.tools.admin.bench import AdminBench

PAGE = Path(__file__).parents[3] / "docs" / "admin.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def matches(shown: str, found: str) -> bool:
    """`...` on the page stands for anything, of any length."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), found, re.DOTALL) is not None


def test_page_can_be_typed_from_top_to_bottom(bench: AdminBench) -> None:
    (expectations,) = blocks("toml")
    (bench.folder / "expectations.toml").write_text(expectations)
    status, ran = 0, 0
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks("console")), re.MULTILINE):
        program, _, line = command.partition(" ")
        if program == "echo":
            assert f"{status}\n" == shown
            continue
        assert program == "orthros-admin"
        if line.startswith("explain "):
            line = f"explain {bench.kdc_refuses('orders', 'billing', key_file='orders.key.new').ref.hex()}"
        told = bench.run(line)
        status, ran = told.code, ran + 1
        assert matches(shown, told.out), f"$ {command}\n{told.out}{told.err}"
        assert status in (0, 3)
    assert ran > 20


def test_page_names_only_commands_that_exist(bench: AdminBench) -> None:
    nouns = "principal|key|group|policy|jwt|oauth|audit|realm|kdc"
    named = set(re.findall(rf"`(?:orthros-admin )?((?:{nouns}) [a-z][a-z-]*)", PAGE.read_text("utf-8")))
    assert len(named) > 15
    for command in sorted(named):
        bench.ok(f"{command} --help")


def test_fields_of_the_page_are_those_of_the_program(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    table = dict(re.findall(r"^\| (.*?) \| (.*?) \|$", PAGE.read_text("utf-8"), re.MULTILINE))

    def fields(row: str) -> list[str]:
        return str(table[row]).split(", ")

    assert list(bench.rows("principal add ledger")[0]) == fields("`principal add`")
    assert list(bench.rows("principal list")[0]) == fields("`principal list`, `limit`")
    assert list(bench.rows("key list orders")[0]) == fields("`key list`")
    assert list(bench.rows("key export orders --out x.key")[0]) == fields("`key export`")
    assert list(bench.rows("policy allow billing orders")[0]) == fields("`policy allow`, `deny`, `list`")
    assert list(bench.rows("policy explain billing orders")[0]) == fields("`policy explain`")
    (bench.folder / "e.toml").write_text('[[expect]]\nclient = "orders"\ntarget = "billing"\nrefused = "not-granted"\n')
    assert list(bench.rows("policy test e.toml")[0]) == fields("`policy test`")
    enabled, shown = (list(bench.rows(f"{line} orders")[0]) for line in ("jwt enable", "principal show"))
    assert (enabled, shown) == (
        fields("`jwt enable`"),
        fields("`principal list`, `limit`") + fields("`principal show` adds"),
    )
    assert list(bench.rows("jwt claims orders --claim tenant")[0]) == fields("`jwt claims`")
    client = list(bench.rows("oauth enable orders")[0])
    assert client == list(bench.rows("oauth secret orders --out y.secret")[0]) == fields("`oauth enable`, `secret`")
    assert list(bench.rows("oauth list")[0]) == fields("`oauth list`")
    ref = bench.kdc_refuses("orders", "billing").ref.hex()
    assert list(bench.rows(f"explain {ref}")[0]) == fields("`explain`")
    assert {"writer", *bench.rows("audit verify")[0]} == set(table["`audit tail`; `verify`"].split("; ")[1].split(", "))
