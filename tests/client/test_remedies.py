"""Refusals of tickets say what to run next, with every name that the asking side knows."""

from __future__ import annotations

from typing import Any

import pytest

from orthros_client import Client, TicketRefused
from orthros_client.errors import Failure
from orthros_client.http.propagation import serving
from orthros_client.local.conversation import Conversation
from orthros_client.verifier import VerifiedCaller, Verifier
from orthros_protocol.exchanges.ap_exchange import SAFE, USE_RAW, ApRequest, sign_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import REASONS, Code
from orthros_protocol.testing import InMemoryRealm
from orthros_protocol.testing.fakes import ManualStore
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.ticket import DELEGABLE, Hop, Subject
from tests.client.house import open_house
from tests.client.local.test_client import StillClock, grant
from tests.client.local.test_client_on_behalf import ask
from tests.client.world import evidence_of, new_realm

ALICE = Subject(Principal("test.realm", "users/ada"), 0, 2)


def served(realm: InMemoryRealm, *via: str, subject: Subject | None = ALICE) -> VerifiedCaller:
    """A call of `shop` at `web`, which came through `via`."""
    chain = tuple(Hop(Principal.parse(f"{name}@test.realm"), 1) for name in via)
    shown = realm.issue("shop", "web", flags=DELEGABLE, subject=subject, chain=chain)
    verifier = Verifier(realm.keytab("web"), replay=ManualStore(realm.clock.now), clock=realm.clock.now)
    request = ApRequest(
        use=USE_RAW, ticket=shown.ticket, bind=bind_raw("x", b""), ts=realm.clock.now(), nonce=realm.entropy(16),
        flags=SAFE,
    )  # fmt: skip
    return verifier.accept(sign_ap_request(request, shown.pop_key).message, "x", accept_user=True)


def remedy(code: Code | Reason, behalf: Any = None, *, conversation: Conversation | None = None) -> str:
    """The remedy of a question about `ledger` that the KDC refuses with `code`."""
    conversation = conversation or Conversation(10, clock=StillClock())
    with pytest.raises(TicketRefused) as caught:
        ask(conversation, Failure.refused(code).to_error(), behalf=behalf)
    assert str(caught.value).endswith(caught.value.remedy)
    return caught.value.remedy


@pytest.mark.parity("B2", "K17")
def test_a_refused_path_is_explained_by_a_command_that_can_be_run() -> None:
    """Who asked for what, for whom and through whom: all of it stood in the ticket that is the evidence."""
    realm = new_realm()
    for via, options in (
        ((), "--behalf users/ada --via shop"),
        (("portal",), "--behalf users/ada --via portal --via shop"),
    ):
        told = remedy("chain-refused", served(realm, *via))
        assert told == f"Find the condition with `orthros-admin policy explain web ledger {options}`."
    own = remedy("chain-refused", served(realm, subject=None))
    assert own == "Find the condition with `orthros-admin policy explain web ledger --behalf shop`."


@pytest.mark.parity("B2")
@pytest.mark.parametrize("code", ["not-granted", "no-scope-left", "subject-refused", "chain-refused", "source-refused"])
def test_what_a_rule_decides_on_behalf_of_others_names_the_explanation(code: Code) -> None:
    """Also where the remedy for own calls is another one."""
    told = remedy(code, served(new_realm(), "portal"))
    assert "orthros-admin policy explain web ledger --behalf users/ada --via portal --via shop" in told
    for placeholder in ("CLIENT", "TARGET", "NAME", "CALLER"):
        assert placeholder not in told
    asserted = remedy(code, "users/ada")
    assert "ledger --subject users/ada" in asserted or "TARGET" not in asserted
    assert "--via" not in asserted


@pytest.mark.parity("B2")
def test_this_program_is_named_once_it_knows_its_name() -> None:
    """A subject that it asserts says nothing about it; any ticket does."""
    conversation = Conversation(10, clock=StillClock())
    rule = "Check the spelling of ledger (an unknown name is refused alike), then ask an admin to run "
    rule += "`orthros-admin policy allow {} ledger --scope ...`."
    assert remedy("not-granted", conversation=conversation) == rule.format("CLIENT")
    ask(conversation, grant())
    name = grant().credential.client.name
    assert remedy("not-granted", conversation=Conversation(10, clock=StillClock())) == rule.format("CLIENT")
    flow = conversation.credentials("orders", None, 0)
    next(flow)
    with pytest.raises(TicketRefused) as caught:
        flow.throw(Failure.refused("not-granted").to_error())
    assert caught.value.remedy == rule.format(name).replace("ledger", "orders")
    for subject in ("users/ada", Principal("test.realm", "users/ada"), Behalf(subject=ALICE.principal)):
        told = remedy("subject-refused", subject, conversation=conversation)
        assert told.endswith(f"`orthros-admin policy explain {name} ledger --subject users/ada` says what is missing.")
    foreign = remedy("subject-refused", Principal("else.realm", "users/ada"), conversation=conversation)
    assert "--subject users/ada@else.realm`" in foreign


@pytest.mark.parity("B2")
def test_evidence_that_nothing_is_known_of_leaves_its_placeholders() -> None:
    """Nobody is guessed."""
    told = remedy("chain-refused", evidence_of(new_realm(), "shop"))
    assert told == "Find the condition with `orthros-admin policy explain CLIENT ledger --behalf NAME --via CALLER`."


@pytest.mark.parametrize("behalf", [None, "users/ada"])
def test_every_remedy_stays_a_remedy(behalf: str | None) -> None:
    for reason in REASONS:
        told = remedy(reason, behalf)
        assert told.startswith(reason.remedy.partition("`")[0].replace("TARGET", "ledger"))
        assert "TARGET" not in told
        assert told.count("`") % 2 == 0


@pytest.mark.parity("B2", "L23")
async def test_a_refusal_that_the_daemon_remembers_is_each_askers_own() -> None:
    """One remembered refusal, two askers; neither reads whom the other served."""
    async with open_house() as house:
        realm = house.world.realm
        with Client(house.socket, propagate=True) as client:

            def refused() -> str:
                with pytest.raises(TicketRefused) as caught:
                    client.credentials("payroll")
                assert caught.value.asked is not None
                return caught.value.remedy

            with serving(served(realm, subject=None)):
                assert "policy explain web payroll --behalf shop`" in await house.in_thread(refused)
        with Client(house.socket, propagate="or-own-name") as client:
            told = await house.in_thread(refused)
            assert "shop" not in told
            assert "--behalf" not in told


def test_a_refusal_without_its_question_keeps_its_placeholders() -> None:
    error = Failure.refused("not-granted").to_error()
    assert "policy allow CLIENT TARGET" in error.remedy
