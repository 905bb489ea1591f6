"""Groups: members come and go, and with a group go the rules that name it."""

import pytest

from tests.tools.admin.bench import AdminBench


def test_members_come_and_go(bench: AdminBench) -> None:
    bench.add("web", "app")
    assert bench.ok("group list").out == "no groups yet\n"
    assert bench.ok("group add frontends").out == "group frontends added\n"
    assert bench.ok("group add-member frontends web").out == "web is in group frontends\n"
    assert bench.rows("group add-member frontends app") == [{"group": "frontends", "members": ["app", "web"]}]
    assert bench.ok("group show frontends").out == "app\nweb\n"
    assert bench.ok("group list").out == "GROUP      MEMBERS\nfrontends  app web\n"
    bench.ok("group remove-member frontends app")
    assert bench.rows("group list") == [{"group": "frontends", "members": ["web"]}]


def test_group_takes_its_rules_along(bench: AdminBench) -> None:
    bench.add("web", "orders")
    bench.ok("group add frontends")
    bench.ok("policy allow group:frontends orders")
    assert bench.rows("group delete frontends --yes") == [{"group": "frontends", "deleted": True, "rules": [1]}]
    assert bench.rows("policy list") == []


@pytest.mark.parametrize(
    ("line", "exit_code", "code"),
    [
        ("group add frontends", 1, "already-exists"),
        ("group add Front", 1, "name-invalid"),
        ("group show backends", 5, "not-found"),
        ("group delete backends", 5, "not-found"),
        ("group add-member frontends nobody", 5, "not-found"),
        ("group add-member frontends web", 1, "already-exists"),
        ("group remove-member frontends app", 5, "not-found"),
    ],
)
def test_refused_change_says_why(bench: AdminBench, line: str, exit_code: int, code: str) -> None:
    bench.add("web", "app")
    bench.ok("group add frontends")
    bench.ok("group add-member frontends web")
    before = bench.snapshot()
    told = bench.run(f"{line} --output json")
    assert (told.code, told.error["code"]) == (exit_code, code)
    assert bench.snapshot() == before
