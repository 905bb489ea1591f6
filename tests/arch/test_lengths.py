"""There is one reader of lengths. What `str` calls a digit is not what HTTP does, and zeros in front pass for short."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The parameter `ttl` of the daemon's HTTP door: seconds, asked for by a local program.
ALLOWED = {"client/orthros_client/daemon/listeners/http_answers.py"}


def test_no_product_code_asks_whether_a_text_looks_like_a_number() -> None:
    folders = [ROOT / name for name in ("protocol", "kdc", "client", "tools")]
    found = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in folder.rglob("*.py")
        if re.search(r"\.is(?:digit|decimal|numeric)\b", path.read_text("utf-8"))
    }
    assert found == ALLOWED
