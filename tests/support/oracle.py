"""Whether a target accepts an AP-REQ, told a second time, straight from docs/protocol: AP exchange and caveats.

Forgets nothing, hurries nowhere and shares no code with the library; its answer is a word, not an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from cryptography.exceptions import InvalidTag

from tests.support import naive, second_caveats
from tests.support.naive import Sealer

NAME = re.compile(r"[a-z0-9]+([._/-][a-z0-9]+)*")
SCOPE = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,63}")


class Verdict(Exception):  # it ends the reading of a request, as a judge's word does
    """The answer, thrown from wherever it becomes clear."""


def need(condition: object, word: str) -> None:
    if not condition:
        raise Verdict(word)


def number(value: Any, high: int = 2**63 - 1, low: int = 0) -> bool:
    return type(value) is int and low <= value <= high


def blob(value: Any, low: int, high: int | None = None) -> bool:
    return type(value) is bytes and low <= len(value) <= (low if high is None else high)


def name(value: Any) -> bool:
    return type(value) is str and len(value) <= 128 and NAME.fullmatch(value) is not None


def scopes(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) <= 32
        and all(type(one) is str and SCOPE.fullmatch(one) for one in value)
        and value == sorted(set(value), key=naive.enc)
    )


def extensions(value: Any, most: int = 1024) -> bool:
    if type(value) is not list or len(value) > 8:
        return False
    shaped = all(
        type(one) is list and len(one) == 2 and number(one[0], 0xFFFF) and blob(one[1], 0, most) for one in value
    )
    ids = [one[0] for one in value] if shaped else []
    return shaped and ids == sorted(set(ids)) and (not value or len(naive.enc(*value)) <= most)


def caveat_list(value: bytes) -> list[bytes]:
    if value == b"":
        return []
    items = array(value, 8243)
    need(1 <= len(items) <= 16 and all(blob(one, 1, 512) for one in items), "malformed")
    return items


def array(data: bytes, limit: int, length: int | None = None) -> list[Any]:
    try:
        need(len(data) <= limit, "malformed")
        items = naive.strict(data)
    except ValueError:
        raise Verdict("malformed") from None
    need(length is None or len(items) == length, "malformed")
    return items


def discharge_start(items: list[Any], tail: bytes) -> bytes:
    """D0 of a third-party caveat; `tail` is that before the caveat."""
    _kind, realm, place, salt, root, cid_digest = items
    if root is None:
        root = naive.kd(tail, "3p-root", naive.enc([realm, place], salt))
    return naive.kd(root, "dis", cid_digest)


def path_allowed(path: list[str], target: str, rule: Mapping[str, Any]) -> bool:
    """Whether a call of `target` may have come along this path."""
    wanted = set(rule.get("require_via", ()))
    if not path:
        return not wanted
    twice = len(set(path)) < len(path) or target in path
    return (
        not set(path) & set(rule.get("deny_via", ()))
        and wanted <= set(path)
        and len(path) - 1 <= rule.get("max_depth", 8)
        and (not twice or bool(rule.get("callbacks")))
    )


def elsewhere(realm: Any, home: Any) -> bool:
    """Whether a ticket of the realm `home` may say this realm in its chain or subject: nil stands for its own."""
    return realm is None or (name(realm) and realm != home)


@define
class Oracle:
    """One replay instance of a target: its ticket keys by kid, and everything that it has ever burnt."""

    keys: Mapping[bytes, Sealer]
    burnt: set[tuple[str, bytes, int]] = field(factory=set)
    floor: int = 0

    def verdict(self, message: bytes, **situation: Any) -> str:
        """`accepted scope...`, or the code of the refusal."""
        try:
            return "accepted " + " ".join(self._accept(message, **situation))
        except Verdict as word:
            return str(word)

    def _accept(
        self,
        message: bytes,
        *,
        now: int,
        use: int,
        bind: bytes | None,
        epoch: bytes,
        max_life_s: int,
        accept_user: bool = False,
        access: Mapping[str, Any] | None = None,
        born: int = 0,
        repetition: str = "unsafe",
        chain: Mapping[str, Any] | None = None,
    ) -> list[str]:
        # 1, 2: size and canonical form of the envelope and the body
        body, mac = array(message, 24 * 1024, 2)
        need(blob(body, 4, 24 * 1024) and blob(mac, 32), "malformed")
        version, kind, asked_use, ticket, caveats, dis, ts, nonce, asked_epoch, flags, asked_bind, user, crit, opt = (
            array(body, 24 * 1024, 14)
        )
        need(
            (version, kind) == (1, 3) and number(asked_use, 3) and blob(ticket, 16, 8192) and blob(caveats, 0, 8243)
            and type(dis) is list and len(dis) <= 4 and all(blob(one, 0, 8243) for one in dis) and number(ts)
            and blob(nonce, 16) and (asked_epoch is None or blob(asked_epoch, 8)) and number(flags, 2**32 - 1)
            and (asked_bind is None or blob(asked_bind, 32)) and extensions(crit) and extensions(opt)
            and (user is None or (type(user) is list and len(user) == 2 and name(user[0]) and number(user[1], 2, 1))),
            "malformed",
        )  # fmt: skip
        need(asked_use == use, "wrong-mac")
        # 3 to 5: header, kid, box, body of the ticket
        need(ticket[0] == 1 and ticket[1] == 1, "malformed")
        need(ticket[2] == 2, "wrong-ticket-type")
        sealer = self.keys.get(ticket[7:15])
        need(sealer is not None and ticket[:15] == sealer.header, "unknown-key")
        assert sealer is not None
        content = self._content(sealer, ticket)
        # 6 to 8: caveats, K_pop, MAC
        offline = caveat_list(caveats)
        conditions, key, demanded = self._walked(content, ticket, offline, dis)
        need(naive.mac(key, f"ap-req.{use}", body) == mac, "wrong-mac")
        # 9: burn
        need(ts <= content["exp"] * 1000, "ticket-expired")
        self.floor = max(self.floor, (now - 60_000) // 1000)
        need(ts // 1000 >= self.floor, "replayed")
        tag = (content["client"], mac[:16], ts // 1000)
        need(tag not in self.burnt, "replayed")
        need(ts <= now + 365_000, "too-far-ahead")
        self.burnt.add(tag)
        # 10 to 13: times, window, flags and extensions, epoch, bind
        second = now // 1000
        need(content["exp"] > second, "ticket-expired")
        need(content["iat"] <= content["exp"] <= content["iat"] + max_life_s, "ticket-times-invalid")
        need(content["iat"] <= second + 300, "ticket-times-invalid")
        need(now - 60_000 <= ts <= now + 5_000, "clock-skew")
        need(not flags & 0xFFFE and not crit, "unsupported-critical")
        may_be_repeated = repetition == "allowed" and use in (0, 1) and ts > born + 5_000
        word = "not-repeatable" if repetition == "declined" else "epoch-required"
        need(use == 2 or asked_epoch == epoch or may_be_repeated, word)
        need(asked_bind == bind and (bind is not None or use == 2), "wrong-binding")
        need(len(dis) == demanded, "discharge-mismatch")
        conditions += [one for shown in dis for one in self._discharge(shown)]
        # 14: caveats, then who may speak for whom
        left: list[str] = content["scopes"]
        need(all(condition is not None for condition in conditions), "caveat-unsupported")
        known = {**({} if access is None else access), "discharged": demanded > 0}
        facts = second_caveats.Facts(second, **known).visible_in(use)
        for items in filter(None, conditions):
            need(second_caveats.holds(items, facts), "caveat-refused")
            left = [one for one in left if items[0] != 2 or one in items[1]]
        need(path_allowed(content["path"], sealer.name, {} if chain is None else chain), "chain-refused")
        if user is not None or content["subject"] is not None:
            need(accept_user, "user-not-accepted")
        need(user is None or "assert-user" in left, "user-not-accepted")
        return left

    @staticmethod
    def _content(sealer: Sealer, ticket: bytes) -> dict[str, Any]:
        try:
            plain = sealer.open_bytes(ticket)
        except (ValueError, InvalidTag):
            raise Verdict("box-unopened") from None
        items = array(plain, 8192, 20)
        (
            version, tid, crealm, cname, cuid, key, iat, exp, auth_time, ckid, flags, held, caveats, chain, subject,
            txn, crit, opt, mac_no, kmac,
        ) = items  # fmt: skip
        hops = type(chain) is list and len(chain) <= 8 and all(
            type(hop) is list and len(hop) == 3 and elsewhere(hop[0], crealm) and name(hop[1]) and number(hop[2])
            for hop in chain
        )  # fmt: skip
        spoken_for = subject is None or (
            type(subject) is list and len(subject) == 4 and elsewhere(subject[0], crealm) and name(subject[1])
            and number(subject[2]) and number(subject[3], 2, 1)
        )  # fmt: skip
        need(
            version == 1 and type(version) is int and blob(tid, 16) and name(crealm) and name(cname) and number(cuid)
            and blob(key, 32) and number(iat) and number(exp) and number(auth_time) and blob(ckid, 8)
            and number(flags, 2**32 - 1) and scopes(held) and blob(caveats, 0, 8243) and hops and spoken_for
            and blob(txn, 16) and extensions(crit) and extensions(opt) and number(mac_no, 2**32 - 1, 1)
            and blob(kmac, 16),
            "malformed",
        )  # fmt: skip
        need(not crit and not flags & 0xFFFC, "unsupported-critical")
        return {
            "client": f"{cname}@{crealm}", "key": key, "iat": iat, "exp": exp, "scopes": held, "caveats": caveats,
            "subject": subject,
            "path": [one if (home or crealm) == sealer.realm else f"{one}@{home or crealm}" for home, one, *_ in
                     [*chain, [crealm, cname]]] if chain else [],
        }  # fmt: skip

    @classmethod
    def _walked(
        cls, content: dict[str, Any], ticket: bytes, offline: list[bytes], dis: list[bytes]
    ) -> tuple[list[Any], bytes, int]:
        """Every condition, the key of the request, and how many discharges the ticket demands."""
        sealed = caveat_list(content["caveats"])
        need(len(sealed) + len(offline) <= 16, "malformed")
        conditions = [cls._condition(one) for one in [*sealed, *offline]]
        tail, starts = naive.kd(content["key"], "chain0", naive.sha256(ticket)), []
        for at, (encoded, items) in enumerate(zip([*sealed, *offline], conditions, strict=True)):
            added = at >= len(sealed)
            if items and items[0] == 8:
                need((items[3] is not None) == added, "malformed")
                starts.append(discharge_start(items, tail))
            tail = naive.kd(tail, "cav", encoded) if added else tail
        key = naive.kd(tail, "pop")
        for start, shown in zip(starts, dis, strict=False):
            end = start
            for one in caveat_list(shown):
                end = naive.kd(end, "cav", one)
            key = naive.kd(key, "mix", end)
        return conditions, key, len(starts)

    @classmethod
    def _discharge(cls, shown: bytes) -> list[Any]:
        """The conditions of a discharge: at least one end, and no demand among them."""
        conditions = []
        try:
            for one in caveat_list(shown):
                conditions.append(cls._condition(one))
                need(conditions[-1] is not None, "caveat-unsupported")
        except Verdict as word:
            raise Verdict("discharge-mismatch" if str(word) == "malformed" else str(word)) from None
        kinds = [items[0] for items in conditions if items]
        need(1 in kinds and 8 not in kinds, "discharge-mismatch")
        return conditions

    @staticmethod
    def _condition(encoded: bytes) -> list[Any] | None:
        items = array(encoded, 512)
        need(items and type(items[0]) is int, "malformed")
        if items[0] not in range(1, 10):
            return None
        need(second_caveats.well_formed(items) and (items[0] != 2 or scopes(items[1])), "malformed")
        return items
