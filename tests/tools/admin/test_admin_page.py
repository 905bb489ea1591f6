"""docs/admin.md, typed in from top to bottom: every command runs and prints what the page shows."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.tools.admin.bench import AdminBench
from tests.tools.admin.test_command_line import EVERY_COMMAND

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


FIELDS: dict[str, list[Any]] = {
    "`principal add`": ["principal add ledger"],
    "`principal list`, `limit`": ["principal list", "principal limit orders --max-ticket-s 600"],
    "`principal disable`, `enable`; `delete`": [
        ["principal disable ledger", "principal enable ledger"], ["principal delete ledger --yes"],
    ],
    "`key list`": ["key list orders"],
    "`key rotate`; `activate`; `retire`": [["key rotate orders --out r.key"], ["key activate orders"],
                                           ["key retire orders 1"]],
    "`key export`": ["key export orders --out x.key"],
    "`key erase-tombstones`": ["key erase-tombstones"],
    "`group list`, `group show`, `group add`, `group add-member`, `group remove-member`; `group delete`": [
        ["group add edge", "group list", "group add-member edge billing", "group show edge",
         "group remove-member edge billing"], ["group delete edge --yes"],
    ],
    "`policy allow`, `deny`, `list`": ["policy allow billing orders --scope read --max-ttl 5m", "policy list",
                                       "policy deny billing orders"],
    "`policy explain`": ["policy explain web orders"],
    "`policy test`": ["policy test e.toml"],
    "`jwt enable`": ["jwt enable orders"],
    "`jwt claims`": ["jwt claims orders --claim tenant"],
    "`jwt disable`; `rotate`; `export`": [["jwt disable orders --yes"], ["jwt rotate orders"],
                                          ["jwt export orders --out o.jwk"]],
    "`oauth enable`, `secret`": ["oauth enable orders", "oauth secret orders --out y.secret"],
    "`oauth audience`": ["oauth audience orders billing"],
    "`oauth disable`; `retire`": [["oauth disable orders --yes"], ["oauth retire orders --id {secret}"]],
    "`oauth list`": ["oauth list"],
    "`audit tail`; `verify`": [[], ["audit verify"]],
    "`audit archive`; `restart`; `export --to`": [["audit archive --to archive"], [], ["audit export --to r.jsonl"]],
    "`realm show`, `limit`, `issuer`": ["realm limit --max-ticket-s 7200", "realm issuer https://kdc.example"],
    "`realm validate`": ["realm validate f.toml"],
    "`realm diff`, `apply`": ["realm apply f.toml --yes --max-removals 99"],
    "`realm export`": ["realm export"],
    "`kdc accept-clock`": ["kdc accept-clock"],
    "`realm rotate-keys`; `erase-old-keys`": [["realm rotate-keys"], ["realm erase-old-keys"]],
    "`realm new-master-key`; `rewrap`": [["realm new-master-key --out n.key"],
                                         ["realm rewrap --next-master-key-file n.key"]],
    "`explain`": ["explain {ref}"],
}  # fmt: skip
"""The commands whose objects each row of the page's table describes, in the parts in which the row describes them."""
ELSEWHERE = {
    "`principal show` adds", "an error",  # below
    "command",  # the head of the table
}  # fmt: skip
SECONDS = {"created", "retired", "accepted", "until", "max_ticket_s", "max_tgt_s", "max_jwt_s", "max_ttl_s"}


def described() -> dict[str, list[list[str]]]:
    """The rows of the table of fields: what each part of a row names. The words `nothing else` say that no more than
    `name, kvno, state` or `target, alg` comes."""
    text = PAGE.read_text("utf-8")
    table = text[text.index("| command | fields of each object |") : text.index("| exit code | meaning |")]
    found = {}
    for row, fields in re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.MULTILINE):
        common, _, rest = fields.rpartition(", and ") if ", and " in fields else ("", "", fields)
        parts = [part if part != "nothing else" else "" for part in rest.split("; ") if not part.startswith("`")]
        found[row] = [list(filter(None, f"{common}, {part}".split(", "))) for part in parts]
    return found


def test_every_row_of_the_table_of_fields_is_that_of_the_program(bench: AdminBench) -> None:
    """For scripts: no field is missing on the page, and none is said that does not come; times are whole seconds."""
    bench.add("billing", "orders", "web", "shop")
    ref = bench.kdc_refuses("orders", "billing", stop=True).ref.hex()
    bench.kdc_refuses("orders", "billing")
    bench.ok("policy allow web orders")
    bench.ok("oauth enable web")
    (bench.folder / "archive").mkdir()
    (bench.folder / "e.toml").write_text('[[expect]]\nclient = "web"\ntarget = "billing"\nrefused = "not-granted"\n')
    (bench.folder / "f.toml").write_text('version = 1\n[realm]\nname = "corp.example"\n[groups]\nnew = []\n')
    rows = described()
    assert set(rows) - ELSEWHERE == set(FIELDS)
    backwards = ("`jwt disable`", "`oauth disable`")  # they take away what the rest of the row is about
    for row in sorted(FIELDS, key=lambda one: (one != "`explain`", one.startswith("`realm new"))):
        named = [part if isinstance(part, list) else [part] for part in FIELDS[row]]
        parts = named if len(rows[row]) > 1 else [[line for part in named for line in part]]
        pairs = list(zip(rows[row], parts, strict=True))
        for fields, lines in reversed(pairs) if row.startswith(backwards) else pairs:
            for line in lines:
                secret = bench.rows("oauth list")[0]["secrets"][0]["secret_id"] if "{secret}" in line else ""
                found = bench.rows(line.format(secret=secret, ref=ref))
                assert found, line
                assert list(found[0]) == fields, line
                assert {type(found[0][name]) for name in SECONDS & set(found[0])} <= {int, type(None)}, line
    (bench.folder / "n.key").replace(bench.folder / "realm" / "master.key")


def test_other_rows_of_the_table_of_fields(bench: AdminBench) -> None:
    bench.add("billing")
    rows = described()
    (listed,), (added,) = rows["`principal list`, `limit`"], rows["`principal show` adds"]
    assert list(bench.rows("principal show billing")[0]) == listed + added
    (limited,) = rows["`realm show`, `limit`, `issuer`"]
    assert list(bench.rows("realm show")[0]) == [*limited, "keys"]
    assert {"writer", "event", "at", "seq", "hash"} <= bench.rows("audit tail")[0].keys()
    assert list(bench.run("principal show nobody --output json").error) == ["code", "cause", "detail", "remedy"]
    assert list(bench.run("audit restart kdc-1 --reason lost --output json").error) == list(
        bench.run("principal show nobody --output json").error
    )


def test_the_page_lists_the_commands_that_ask(bench: AdminBench) -> None:
    (listed,) = re.findall(r"ask for a name to be typed: (.*?)\. With", PAGE.read_text("utf-8"), re.DOTALL)
    named = {" ".join(words.split()[:2]) for words in re.findall(r"`([a-z -]+)`", listed)}
    nouns = ("principal", "key", "group", "policy", "jwt", "oauth", "audit", "realm", "kdc")
    verbs = {
        f"{noun} {verb}"
        for noun in nouns
        for verb in re.findall(r"^    ([a-z-]+) ", bench.ok(f"{noun} --help").out, re.MULTILINE)
    }
    assert {verb for verb in verbs if "--yes" in bench.ok(f"{verb} --help").out} == named


def test_no_option_takes_a_key(bench: AdminBench) -> None:
    """A key in the arguments would be in the shell's history, and visible to other users of the host."""
    taken = set()
    for command in EVERY_COMMAND.values():
        for action in command._actions:
            if re.search("key|secret", " ".join(action.option_strings)) and action.nargs != 0:
                taken.add((action.option_strings[0], action.metavar))
    assert taken == {("--master-key-file", "FILE"), ("--next-master-key-file", "FILE")}


def test_what_is_named_nearer_stands_above_what_is_named_farther(
    bench: AdminBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = bench.folder / "other.toml"
    other.write_text(bench.config.read_text().replace("kdc.db", "other.db"))
    assert bench.run(f"--config {other} group list").code == 1  # --config above ORTHROS_CONFIG
    bench.ok(f"--config {other} --store realm/kdc.db group list")  # --store above the file
    monkeypatch.setenv("ORTHROS_STORE_PATH", str(bench.folder / "realm" / "kdc.db"))
    bench.ok(f"--config {other} group list")  # the environment above the file
    assert bench.run("--store realm/other.db group list").code == 1  # an option above the environment
