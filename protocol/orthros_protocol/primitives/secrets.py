"""Key material as an object that cannot be printed, compared, pickled or copied by accident.

Knows no key and no message.
"""

from __future__ import annotations

from typing import NoReturn, Self

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.derivation import KEY_BYTES

__all__ = ["Secret", "not_exported"]


def not_exported(_holder: object) -> NoReturn:
    """The `__getstate__` of everything that holds key material: it stays in the process that obtained it."""
    raise LocalMisuse("secret-not-exported")


# getstate_setstate=False: attrs would write a __getstate__ into each slotted subclass that hands the material out.
@frozen(eq=False, repr=False, getstate_setstate=False)
class Secret:
    """32 secret bytes that do not show themselves. Subclasses say what they are for."""

    material: bytes = field()

    @material.validator
    def _check(self, _attribute: object, value: object) -> None:
        if type(value) is not bytes or len(value) != KEY_BYTES:
            raise LocalMisuse("key-misuse", "key material is exactly 32 bytes")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} redacted>"

    def __getstate__(self) -> NoReturn:
        raise LocalMisuse("secret-not-exported")

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise LocalMisuse("secret-not-exported")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self
