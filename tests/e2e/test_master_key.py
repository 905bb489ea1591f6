"""The master key changed as docs/operations.md says, under programs that go on working."""

from __future__ import annotations

import pytest

from tests.support.processes import Estate

pytestmark = [pytest.mark.stories, pytest.mark.parity("K13")]


def obtain(estate: Estate) -> None:
    """A login and a ticket from the KDC, by a daemon without a memory."""
    (estate.folder / "shop.cache").unlink(missing_ok=True)
    daemon = estate.start_daemon()
    estate.orthros("ticket orders --scope read").require()
    daemon.stop()


def test_master_key_is_changed_under_a_running_kdc(estate: Estate) -> None:
    folder, settings = estate.folder / "kdc", estate.config.read_text("utf-8")
    estate.admin(f"realm new-master-key --out {folder}/next.key").require()
    named = settings.replace("[listen]", f'next_master_key_file = "{folder}/next.key"\n\n[listen]')
    estate.config.write_text(named, "utf-8")
    kdc = estate.start_kdc()
    assert "both at hand" in kdc.errors()
    assert "master key 2 counts now" in estate.admin("realm rewrap").require().out
    obtain(estate)
    estate.config.write_text(settings, "utf-8")
    refused = estate.run(f"orthros-kdc serve --config {estate.config}")
    assert (refused.code, "code: master-key-wrong" in refused.err) == (1, True)
    (folder / "next.key").replace(folder / "master.key")
    kdc.stop()
    estate.start_kdc()
    obtain(estate)
    estate.admin("audit verify").require()
