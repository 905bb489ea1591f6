"""The normative pages agree with the code where a machine can tell."""

import json
import re
from pathlib import Path

import pytest

from orthros_protocol.primitives import limits
from orthros_tools.reasons import CATALOGUE
from tests.support.naive import sha256

PAGES = Path(__file__).resolve().parents[2] / "docs" / "protocol"
EVERY_PAGE = sorted(PAGES.glob("*.md"))


def rows_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "| `" in line]


def test_the_table_of_errors_is_the_one_in_the_code() -> None:
    """After a change of a table of reasons, docs/protocol/errors.md changes in the same commit."""
    documented = rows_of((PAGES / "errors.md").read_text(encoding="utf-8"))
    coded = [
        [str(reason.number or ""), f"`{reason.name}`", reason.cause, reason.remedy, "yes" if reason.retry else ""]
        for reason in CATALOGUE.values()
    ]
    assert sorted(documented) == sorted(coded)


def test_codes_named_on_the_pages_exist() -> None:
    names = {*CATALOGUE}
    refusals = re.compile(r"`([a-z]+(?:-[a-z]+)+)`")
    labels = {"as-req", "as-rep", "as-err", "tgs-req", "tgs-rep", "tgs-err", "ap-req", "ap-rep", "ap-err"}
    others = {"key-check", "assert-user", "refused-by-peer", "kdc-mark", "ticket-times", "key-file", "orthros-admin"}
    fields = {"content-type", "content-encoding", "idempotency-key", "x-http-method-override", "x-http-method"}
    fields |= {"x-method-override", "x-original-url", "x-rewrite-url", "script-name", "path-info"}
    grants = {"jwt-bearer", "token-exchange"}
    lines = {"segment-opened", "segment-closed", "chain-restarted", "kdc-stopped", "failed-sync", "failed-write"}
    for page in EVERY_PAGE:
        for name in refusals.findall(page.read_text(encoding="utf-8")):
            assert name in names | labels | others | fields | grants | lines, f"{page.name}: {name}"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_limits_are_those_of_the_code() -> None:
    text = (PAGES / "README.md").read_text(encoding="utf-8")
    for stated in (
        f"frame | {limits.MAX_FRAME_BYTES // 1024} KiB", f"AP-REQ | {limits.MAX_AP_REQUEST_BYTES // 1024} KiB",
        f"ticket | {limits.MAX_TICKET_BYTES // 1024} KiB", f"name | {limits.MAX_NAME_CHARS} characters",
        f"scopes | {limits.MAX_SCOPES} of 64", f"wants | {limits.MAX_WANTS} |",
        f"discharges | {limits.MAX_DISCHARGES} |", f"besides its wants | {limits.MAX_UNPROVEN_BYTES // 1024} KiB",
        f"| {limits.MAX_CAVEATS} of {limits.MAX_CAVEAT_BYTES} bytes", f"hops of a chain | {limits.MAX_CHAIN_HOPS} |",
        f"items of any array | {limits.MAX_ARRAY_ITEMS} |", f"nesting | {limits.MAX_DEPTH} |",
        f"{limits.WINDOW_PAST_MS // 1000} s past, {limits.WINDOW_FUTURE_MS // 1000} s future",
        f"at the KDC | {limits.KDC_SKEW_MS // 1000} s", f"ticket | {limits.KDC_SERVICE_TICKET_S} s",
        f"life of a ticket | {limits.MAX_TICKET_LIFE_S:,} s".replace(",", " "),
    ):  # fmt: skip
        assert stated in text, stated


def test_the_example_of_a_binding_is_the_first_vector() -> None:
    text = (PAGES / "http.md").read_text(encoding="utf-8")
    vectors = json.loads((PAGES.parents[1] / "tests" / "vectors" / "http.json").read_text(encoding="utf-8"))["vectors"]
    shown = re.search(r"enc    = ([0-9a-f\s]+)\nbind32 = ([0-9a-f]{64})\n", text)
    assert shown is not None
    assert shown[2] == vectors[0]["out"]["bind"] == sha256(bytes.fromhex("".join(shown[1].split()))).hex()
