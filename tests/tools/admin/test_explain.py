"""A reference from a refusal leads to what the caller was not told."""

import pytest

from tests.tools.admin.bench import AdminBench


def test_refused_ticket_is_explained_with_the_next_step(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    ref = bench.kdc_refuses("billing", "orders").ref.hex()
    heading, *rest = bench.ok(f"explain {ref}").out.splitlines()
    assert heading.startswith("tgs-refused, by kdc-1, 20")
    (row,) = bench.rows(f"explain {ref}")
    assert rest == [
        "client: billing",
        "target: orders@corp.example",
        "kind: ticket",
        "scopes: read",
        "from: test",
        f"transaction: {row['entry']['txn']}",
        "code: not-granted",
        "cause: No rule lets this client reach this target.",
        "remedy: Check the spelling of TARGET (an unknown name is refused alike), then ask an admin to run "
        "`orthros-admin policy allow CLIENT TARGET --scope ...`.",
        "next: orthros-admin policy explain billing orders --scope=read",
    ]


@pytest.mark.parity("B2", "L20")
def test_a_refusal_on_behalf_tells_for_whom_and_which_way(bench: AdminBench) -> None:
    """And the next step asks policy about the same subject and path."""
    bench.add("web", "orders", "ledger")
    bench.ok("policy allow web orders --delegable --subject 'user/*'")
    for subject, said, next_step in (
        (None, "subject: web", "--behalf=web --via=web"),
        ("user/ada", "subject: user/ada", "--behalf=user/ada --via=web"),
    ):
        ref = bench.kdc_refuses_behalf(("web", "orders", "ledger"), subject).ref.hex()
        told = bench.ok(f"explain {ref}").out
        assert f"{said}\ncame through: web\nevidence: " in told
        assert f"policy explain orders ledger {next_step}\n" in told
        assert "not-granted" in bench.run(f"policy explain orders ledger {next_step}").out
        assert f"subject={subject or 'web'}" in bench.ok("audit tail --event tgs-refused").out


def test_opaque_rejection_is_opened_for_the_operator(bench: AdminBench) -> None:
    ref = bench.kdc_rejects_bytes().hex()
    (row,) = bench.rows(f"explain {ref.upper()}")
    assert (row["ref"], row["code"]) == (ref, "malformed")
    assert row["cause"] == "The bytes are not a well-formed message."
    assert row["entry"]["source"] == "192.0.2.7"
    assert "next:" not in bench.ok(f"explain {ref}").out


@pytest.mark.parity("B2")
def test_a_refusal_over_http_is_explained_alike(bench: AdminBench) -> None:
    """The reference in the JSON leads to the reason, for clients that proved themselves and for others."""
    bench.add("billing", "orders")
    bench.ok("oauth enable billing")
    (secret,) = bench.secrets_of("billing")
    ref = bench.token_endpoint_refuses("billing", secret, audience="orders", scope="read")
    heading, *rest = bench.ok(f"explain {ref}").out.splitlines()
    assert heading.startswith("token-refused, by kdc-1, 20")
    assert rest == [
        "client: billing",
        "target: orders@corp.example",
        "kind: jwt",
        "grant: client_credentials",
        "scopes: read",
        "from: 192.0.2.7",
        "code: not-granted",
        "cause: No rule lets this client reach this target.",
        "remedy: Check the spelling of TARGET (an unknown name is refused alike), then ask an admin to run "
        "`orthros-admin policy allow CLIENT TARGET --scope ...`.",
        "next: orthros-admin policy explain billing orders --scope=read --jwt",
    ]
    ref = bench.token_endpoint_refuses("billing", "wrong", audience="orders")
    told = bench.ok(f"explain {ref}").out
    assert "claimed, unproven: billing" in told
    assert "code: client-secret-wrong" in told


def test_unknown_reference_is_not_found(bench: AdminBench) -> None:
    told = bench.run("explain 0f3a5c7e9b1d2f40")
    assert told.code == 5
    assert told.err == (
        "orthros-admin: No audit log here has this reference. (0f3a5c7e9b1d2f40)\n"
        "remedy: Compare it with the refusal. Each KDC keeps its own log, so ask where the refusal came from. "
        "If there are many refusals, the entry is written up to ten seconds later.\n"
        "code: not-found\n"
    )


@pytest.mark.parametrize("ref", ["", "0f", "0f3a5c7e9b1d2f4", "0f3a5c7e9b1d2f40f", "zz3a5c7e9b1d2f40", "../../etc"])
def test_what_is_no_reference_is_a_usage_error(bench: AdminBench, ref: str) -> None:
    told = bench.run(f"explain '{ref}' --output json")
    assert (told.code, told.error["code"]) == (1, "usage")


@pytest.mark.parity("B2", "O5")
def test_references_do_not_vanish_in_a_flood(bench: AdminBench) -> None:
    """What was summed up is found by the reference that each caller was given, and says how often and why."""
    bench.add("billing", "orders")
    stranger, client = bench.kdc_drowns("billing", "orders")
    told = bench.ok(f"explain {stranger.hex()}").out
    assert told.startswith("suppressed, by kdc-1, 20")
    assert "from: 192.0.2.7\n" in told
    assert "code: malformed\n" in told
    told = bench.ok(f"explain {client.hex()}").out
    assert "client: billing\n" in told
    assert "code: not-granted\ncause: No rule lets this client reach this target.\n" in told
    (row,) = bench.rows("audit tail --event suppressed --client billing")
    assert row["count"] == int(row["codes"][0].rpartition(":")[2])
    assert bench.rows("audit tail --code not-granted --event suppressed") == [row]
