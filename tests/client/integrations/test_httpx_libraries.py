"""httpx and httpx2, both installed and each alone, in processes of their own: what is imported stays so."""

from __future__ import annotations

import subprocess
import sys

import httpx
import httpx2
import pytest

from orthros_client import Client
from orthros_client.integrations.httpx_auth import OrthrosAuth

SERVES = """
auth = OrthrosAuth({"https://orders.example": "orders"}, client=Client())
for library in LIBRARIES:
    assert isinstance(auth, library.Auth)
    library.Client(auth=auth).close()
print(*[library.__name__ for library in LIBRARIES], installed.__name__)
"""
IMPORTS = """
from orthros_client import Client
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.httpx_libraries import LIBRARIES, installed
"""
BEFORE = {
    "both": ("", "httpx httpx2 httpx"),
    "httpx alone": ("import sys; sys.modules['httpx2'] = None", "httpx httpx"),
    "httpx2 alone": ("import sys; sys.modules['httpx'] = None", "httpx2 httpx2"),
    "one under the name of the other": ("import httpx2; httpx2.alias_httpx()", "httpx2 httpx2"),
}


@pytest.mark.parity("L6")
@pytest.mark.parametrize("which", BEFORE)
def test_whichever_is_installed_is_served(which: str) -> None:
    """One class; with both installed, one object is taken by both."""
    before, printed = BEFORE[which]
    script = before + IMPORTS + SERVES
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, printed), done.stderr


@pytest.mark.parity("B2")
def test_without_either_the_extra_is_named() -> None:
    """Not the name of a module that nobody has heard of."""
    script = "import sys; sys.modules['httpx'] = sys.modules['httpx2'] = None" + IMPORTS
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "is in the extra httpx of the wheel that you installed" in done.stderr


@pytest.mark.parity("L6")
def test_an_object_of_ours_is_no_other_kind_of_auth() -> None:
    """Neither library takes it for a function or a pair."""
    auth = OrthrosAuth({"https://orders.example": "orders"}, client=Client())
    assert not callable(auth)
    assert isinstance(auth, httpx.Auth)
    assert isinstance(auth, httpx2.Auth)
