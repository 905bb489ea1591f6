"""Settings for every test: hypothesis has no deadline, and no luck where a build must be repeatable.

`make campaign` looks longer: more examples of every property, and the tests marked `campaign`.
"""

import os

from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("campaign", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "default"))
