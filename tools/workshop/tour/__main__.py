"""`python -m workshop.tour`: runs the story, cleans up, and fails loudly when anything surprises it.

Parses arguments, hears signals, prints; the acts know what happens.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NoReturn

from workshop.stage import INTERRUPTIONS, Stage
from workshop.tour import acts, bearer, denials, outage, refusals
from workshop.tour.behalf.acts import act_for_users, change_the_realm
from workshop.tour.behalf.refusals import refuse_on_the_way
from workshop.tour.calls import Caller, plain_http
from workshop.tour.realm import Realm
from workshop.tour.story import Story

__all__ = ["main"]


class _Interrupted(BaseException):
    """Somebody wants the demo to end: Ctrl-C, or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns 0, 1 when a step surprised it, or 128 and the signal that ended it."""
    parser = argparse.ArgumentParser(
        prog="python -m workshop.tour",
        description="A small realm of real processes: tickets, refusals, an outage. Takes some 20 seconds, "
        "works in a temporary folder, and leaves nothing behind.",
    )
    parser.parse_args(argv)
    previous = {number: signal.signal(number, _interrupt) for number in INTERRUPTIONS}
    story = Story(sys.stdout)
    try:
        return _perform(story)
    except _Interrupted as interrupted:
        sys.stderr.write(f"demo: interrupted by {signal.Signals(interrupted.number).name}; nothing was left behind\n")
        return 128 + interrupted.number
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _perform(story: Story) -> int:
    acts.introduce(story)
    with Stage() as stage:
        try:
            _play(story, Realm(stage))
        except Exception as error:  # noqa: BLE001  # whatever it was: tell it, with the logs of all processes
            story.chapter("This is not how the story goes")
            _report(story, stage, error)
            failed = True
        else:
            failed = False
        folder = stage.folder
    if os.path.lexists(folder) or any(process.is_running for process in stage.processes):
        story.tell(f"something is left behind: {folder}")
        failed = True
    else:
        count = len(stage.processes)
        story.tell(f"all {count} processes have ended, and {folder} is gone")
    story.chapter("Summary")
    story.summary()
    return 1 if failed else 0


def _play(story: Story, realm: Realm) -> None:
    with ExitStack() as stack:
        stack.callback(realm.close)
        acts.found_a_realm(story, realm)
        acts.start_everything(story, realm)
        targets = {realm.orders_origin: "orders", realm.wire_origin: "orders"}
        shop, reports = Caller(targets, realm.client("shop")), Caller(targets, realm.client("reports"))
        stack.callback(shop.close)
        stack.callback(reports.close)
        http = stack.enter_context(plain_http())
        acts.call_each_other(story, realm, shop, http)
        refusals.refuse_at_orders(story, realm, shop, reports)
        refusals.refuse_at_the_client(story, realm, shop)
        token = bearer.bear_tokens(story, realm, http)
        house = change_the_realm(story, realm)
        denials.deny(story, realm)
        act_for_users(story, house)
        refuse_on_the_way(story, house)
        outage.lose_the_kdc(story, realm, shop, http, token)
        outage.regain_the_kdc(story, realm)
        outage.check_the_audit_log(story, realm)


def _report(story: Story, stage: Stage, error: Exception) -> None:
    story.tell(f"{type(error).__name__}: {error}")
    for title, lines in stage.logs():
        story.tell(title)
        for text in lines:
            story.show("|", text)


def _interrupt(number: int, _frame: object) -> NoReturn:
    raise _Interrupted(number)


if __name__ == "__main__":
    sys.exit(main())
