"""Settings for every test: hypothesis has no deadline, and no luck where a build must be repeatable.

No test touches the replay stores of this machine. `make campaign` looks longer: more examples of every property, and
the tests marked `campaign`.
"""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("campaign", deadline=None, max_examples=2000)
# Verifiers of these tests remember in their own process: what the machine remembers for services stays as it is.
os.environ["ORTHROS_REPLAY_STORE"] = "memory"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "default"))
# A shell that starts a job in the background has it ignore SIGINT, and so would every program of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_store_outlives_its_test() -> Iterator[None]:
    yield
    stores = sys.modules.get("tests.support.stores")  # most tests have no store
    if stores is not None:
        stores.close_scratch_stores()
