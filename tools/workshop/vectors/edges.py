"""What the vectors at the limits share: extensions at and past their limits, and fillers of an exact size.

Values only; which message carries them is the business of the other modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from orthros_protocol.primitives.canonical import encode
from workshop.vectors import positive as good
from workshop.vectors.negative import edited, refused
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector
from workshop.vectors.positive import vector

MOST_U32: Final = 2**32 - 1
MOST_INT: Final = 2**63 - 1
HIGH_FLAGS: Final = 0xFFFF0000


def extensions_of(size: int) -> list[Any]:
    """A list of one extension that is encoded in this many bytes, 262 or more."""
    return [[1, bytes(size - 6)]]


def good_extensions(most: int = 1024) -> dict[str, list[Any]]:
    """Lists of extensions that are well-formed."""
    return {
        "8 extensions": [[one, b""] for one in range(8)], f"extensions of {most} bytes": extensions_of(most),
        "extension 65535": [[0xFFFF, b"x"]],
    }  # fmt: skip


def bad_extensions(most: int = 1024) -> dict[str, Any]:
    """What is no list of extensions, each by one thing."""
    return {
        "9 extensions": [[one, b""] for one in range(9)], f"extensions of {most + 1} bytes": extensions_of(most + 1),
        "extension 65536": [[0x10000, b""]], "extensions in another order": [[2, b""], [1, b""]],
        "an extension twice": [[1, b""], [1, b""]], "extension whose value is a str": [[1, "x"]],
        "extension of three items": [[1, b"", b""]], "extension of one item": [[1]], "extension that is an id": [1],
        "extensions as nil": None,
    }  # fmt: skip


def both(  # noqa: PLR0917  # the columns of a table
    what: str,
    op: str,
    given: Callable[[Any], Inputs],
    stage: str,
    passing: Mapping[str, Any],
    failing: Mapping[str, Any],
) -> list[Vector]:
    """Vectors of one operation: the first values pass, the others are refused at this stage."""
    return [
        *(vector(f"{what}: {name}", op, given(value)) for name, value in passing.items()),
        *(refused(f"{what}: {name}", op, given(value), stage) for name, value in failing.items()),
    ]


def scopes_of(count: int) -> list[str]:
    """So many scopes, as a set."""
    return [f"s{one:02}" for one in range(count)]


def filler(size: int) -> bytes:
    """A scopes caveat of exactly this many bytes, 80 to 512, that leaves the scope `read`."""
    large, rest = divmod(size - 3 - len(b"\xa4read"), 66)
    sizes = [66] * large + ([rest] if rest else [])
    if rest in (1, 33):  # no scope is encoded in as many bytes
        sizes[-2:] = [40, 26 + rest]
    names = [chr(ord("a") + at).ljust(one - (1 if one <= 32 else 2), "x") for at, one in enumerate(sizes)]
    made = encode(2, sorted([*names, "read"], key=lambda one: (len(one), one)))
    if len(made) != size:
        raise ValueError(f"a caveat of {len(made)} bytes instead of {size}")
    return made


def fillers(size: int) -> list[bytes]:
    """Caveats whose field has exactly this many bytes, 2 KiB or more; at most 16 of them."""
    count = -(-(size - 3) // 515)
    least, more = divmod(size - (1 if count < 16 else 3), count)
    made = [filler(least - 3 + (at < more)) for at in range(count)]
    if len(encode(*made)) != size:
        raise ValueError(f"a field of {len(encode(*made))} bytes instead of {size}")
    return made


def ticket_of(size: int, sealer: Inputs = good.TICKET_KEY) -> str:
    """A ticket under this key of exactly this many bytes, filled up with caveats; without a right mark."""
    bare = len(edited(sealer, good.TGT if sealer["type"] == 1 else good.TICKET)) // 2
    content = encode(*fillers(size - bare - 1))
    made = edited(sealer, good.TGT if sealer["type"] == 1 else good.TICKET, caveats=content)
    if len(made) != 2 * size:
        raise ValueError(f"a ticket of {len(made) // 2} bytes instead of {size}")
    return made


def marked_ticket_inputs(size: int, sealer: Inputs = good.TICKET_KEY, **fields: Any) -> Inputs:
    """Inputs of `ticket` for one of exactly this many bytes, filled up with caveats."""
    bare = len(OPERATIONS["ticket"](good.ticket_inputs(sealer, **fields))["ticket"]) // 2
    caveats = [one.hex() for one in fillers(size - bare - 1)]
    return good.ticket_inputs(sealer, caveats=caveats, **fields)
