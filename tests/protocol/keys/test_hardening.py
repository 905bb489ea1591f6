"""A process that holds long-lived keys leaves no core file and lets nobody attach."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from orthros_protocol.keys.hardening import harden_process
print(harden_process(), resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.parity("L26")
def test_a_hardened_process_is_not_dumpable() -> None:
    """Section 18: long-lived keys stay in the memory of their process."""
    told = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert told.stdout == "True (0, 0) 0\n"
