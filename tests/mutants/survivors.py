"""The faults that no vector could see, each with its reason.

A pattern that does not survive, or names no fault, fails `make mutants`: the table holds nothing by mistake.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from attrs import frozen


@frozen
class Entry:
    """Faults by the pattern of their label, in which `*` is any text, without those that `besides` names.

    Every one of them must survive.
    """

    pattern: str
    reason: str
    besides: str = ""

    def names(self, label: str) -> bool:
        """Whether this is the entry of a fault."""
        return _is_like(label, self.pattern) and not _is_like(label, self.besides)


def _is_like(label: str, pattern: str) -> bool:
    return fnmatchcase(label, pattern.replace("[", "[[]").replace("?", "[?]"))


def _because(reason: str, *patterns: str) -> tuple[Entry, ...]:
    return tuple(Entry(pattern, reason) for pattern in patterns)


KNOWN: Final[tuple[Entry, ...]] = (
    *_because(
        "It builds situations for tests and demos; no reader of the protocol has it.", "realm.*", "pairs.*", "fakes.*"
    ),
    *_because(
        "What an error tells a person; its code is what a reader compares.",
        "errors.OrthrosError.remedy: *",
        "errors.OrthrosError.__init__: without *",
    ),
    *_because("It keeps core dumps and debuggers away from a process; nothing of it travels.", "hardening.*"),
    *_because(
        "Permissions and renaming of files on this host: tests/protocol/keys/test_secret_file.py.", "secret_file.*"
    ),
    *_because(
        "How full a disk of this host is: tests/client/daemon/tickets/test_persistence.py and tests/kdc/audit/.",
        "disk.*",
    ),
    *_because(
        "Whose clock is wrong, in words for people: tests/client/daemon/test_clocks_apart.py.",
        "whose_clock.*",
        "acceptance.Possession.refused: without `name_clock_at_service*",
        "acceptance.prove: 1000 -> * (2)",
        "acceptance.prove: left_s > 1 -> left_s >= 1",
        "acceptance.prove: 1 -> *",
    ),
    *_because("What logs may show: tests/protocol/primitives/test_redaction.py.", "redaction.*"),
    *_because("The ticket cache never leaves its host: tests/protocol/tickets/test_cache_file.py.", "cache_file.*"),
    *_because("Who presented a ticket, for logs: tests/protocol/test_presenters.py and the audit log.", "presenters.*"),
    *_because("Words for people: vectors show the numbers of a note, which any reader shows.", "notes.*"),
    Entry(
        "staying.STAYING: 0 -> *",
        "0 marks a reason that never travels. Which such reasons there are is every program's own.",
        besides="staying.STAYING: 0 -> *1 (5)",  # wrong-mac: with a number, a refusal of it would be sealed
    ),
    *_because(
        "What is kept of a request that was accepted, for the replay store of this process: no message shows it.",
        "as_exchange.verify_as_request: 16 -> *",
        "tgs_exchange.verify_tgs_request: 16 -> *",
        "acceptance.Possession.entry: 16 -> *",
    ),
    *_because(
        "A default of the Python interface, which every operation of the vectors states.",
        "as_exchange.seal_as_error: 0 -> *",
        "tgs_exchange.seal_tgs_error: 0 -> *",
        "keytab.KeytabEntry.not_before: 0 -> *",
        "wants.(WANT_TICKET, WANT_JWT): 0 -> *",
        "wants.Want.ttl_s: 0 -> *",
        "wants.Want.flags: 0 -> *",
        "wants.Granted.flags: 0 -> *",
        "wants.Granted.kvno: 0 -> *",
        "wants.NotGranted.retry_s: 0 -> *",
        "ap_exchange.ApRequest.flags: 0 -> *",
        "canonical.Field.low: 0 -> *",
        "errors.Unavailable.retry_s: 0 -> *",
        "replay.ReplaySet.__init__: 1000000 -> *",
        "replay.ReplaySet.__init__: 250000 -> *",
    ),
    *_because(
        "What a caller in Python alone can pass: one text for a list, another type, an object of two kinds.",
        "names.Principal.__attrs_post_init__: *",
        "names.Principal.parse: without *",
        "names.check_name: type(text) is not str or not is_name(text) -> not is_name(text)",
        "names.check_list: without `if isinstance(values, (str, bytes))`",
        "names.listed: without `check_list(values, attribute.name)`",
        "names.check_texts: without `if type(one) is not str`",
        "names.check_scopes: without `if isinstance(scopes, (str, bytes))`",
        "names.check_scopes: type(scope) is not str or not is_scope(scope) -> not is_scope(scope)",
        "http_profile._check_covered: without `check_list(names, 'covered')`",
        "call_chain._depth: type(value) is not int or *",
        "call_chain._depth: without *",
        "call_chain._depth: 0 -> -1",
        "evidence.Behalf.__attrs_post_init__: without *",
        "evidence.Behalf.__attrs_post_init__: self.evidence is not None and *",
        "evidence.Behalf.__attrs_post_init__: self.evidence is None and *",
        "call_chain._names: without `if not all(names)`",
        "role_keys.Secret._check: type(value) is not bytes or len(value) != KEY_BYTES -> len(value) != KEY_BYTES",
        "derivation.prf: type(key) is not bytes or len(key) != KEY_BYTES -> len(key) != KEY_BYTES",
        "derivation.mac: type(key) is not bytes or len(key) != KEY_BYTES -> len(key) != KEY_BYTES",
        "canonical.decode: type(data) is not bytes or len(data) > limit -> len(data) > limit",
        "sealing.open_box: type(box) is not bytes or not BOX_OVERHEAD <= len(box) <= limit -> not *",
        "http_profile.open_http_reply: without `_require(pending.request.use == USE_HTTP, *",
        "tgs_exchange.verify_tgs_request: without `if (evidence is None) != *",
        "evidence.open_evidence: without `if behalf.evidence is None`",
        "keytab.Keytab.of: without `if not keys`",
        "keytab.Keytab.as_key: without `if not self._as_keys`",
        "keytab.Keytab.root_key: without `if not roots`",
        "replay.ReplaySet.admit: self._ahead_ms is not None and * -> entry.ts > now + self._ahead_ms",
    ),
    *_because(
        "The parts of this message are limited, and together they never come near the limit of the whole.",
        "as_exchange._REQUEST: 4096 -> *",
        "ap_exchange.AP_REPLY: 4096 -> *",
        "ap_exchange.AP_ERROR: 4096 -> *",
        "messages._ERROR: 4096 -> *",
        "messages.open_reply_box: 4096 -> *",
        "discharges._DISCHARGE: 64 -> *",
        "discharges.open_discharge: 256 -> *",
        "keytab._RECORD: 2048 -> *",
    ),
    *_because(
        "A use of 4 or more is refused before its label is looked up.",
        "ap_exchange.REQUEST_LABELS: 4 -> 5",
        "ap_exchange.REPLY_LABELS: 4 -> 5",
        "ap_exchange.ERROR_LABELS: 4 -> 5",
    ),
    *_because(
        "A size is never negative, so a lower limit of -1 is one of 0.",
        "ap_exchange._CAVEATS: 0 -> -1",
        "tgs_exchange._CAVEATS: 0 -> -1",
        "authenticators._RAW: 0 -> -1",
        "evidence.BEHALF: 0 -> -1",
        "http_profile._BINDING: 0 -> -1",
        "ticket._FIELDS: 0 -> -1",
        "caveats._SCHEMAS: 0 -> -1",
        "canonical.array: 0 -> -1",
        "canonical.extensions: 0 -> -1",
        "canonical.extensions: 0 -> -1 (2)",
    ),
    *_because(
        "No timestamp is below zero, so a floor of -1 forgets as little as one of 0.",
        "replay.ReplaySet.__init__: 0 -> -1 (2)",
    ),
    *_because(
        "A process's own clock and memory: its epoch is eight random bytes to everybody else.",
        "epochs.RANDOM_BYTES: *",
        "epochs.derive_epoch: *",
        "epochs.Memory.has_stepped: *",
        "epochs.EPOCH_BYTES: *",
        "limits.CLOCK_STEP_MS: *",
    ),
    *_because(
        "A default or a cap of the KDC's policy; the vectors state lives themselves.",
        "limits.DEFAULT_TICKET_S: *",
        "limits.DEFAULT_TGT_S: *",
        "limits.DEFAULT_JWT_S: *",
        "limits.KDC_SERVICE_TICKET_S: *",
        "limits.KDC_SKEW_MS: *",
        "limits.MAX_TARGET_OFFSET_MS: *",
    ),
    *_because(
        "Words of a refusal: a detail is for people, and an implementation words it as it likes.",
        "acceptance.build_ap_error: 200 -> 201",
        "acceptance._check_bind: request.bind is None or received.mismatch is None -> received.mismatch is None",
        "acceptance._check_bind: request.bind is None -> request.bind is not None (3)",
        "messages.seal_error: 200 -> 201",
        "presented.Presented.behind: unsupported or refusal.detail -> refusal.detail",
        "presented.open_presented: unsupported or refusal.detail -> refusal.detail",
        "epochs.check_epoch: request.epoch is None -> request.epoch is not None",
        "caveats.AppCaveat.prohibits: 1 -> *",
    ),
    *_because(
        "Which words the log of a target has for it: no answer carries them.",
        "epochs.check_epoch: request.epoch is not None and (not may_repeat) -> *",
        "epochs.check_epoch: request.epoch is not None -> request.epoch is None (2)",
        "presented._unknown: kvno in held -> kvno not in held",
        "presented._unknown: kvno > held[-1] -> kvno >= held[-1]",
        "presented._unknown: 1 -> 0",
    ),
    *_because(
        "A demand that the KDC wrote has its root with it, so the tail beside it is not read.",
        "presented._roots_of: tail or b'' -> tail",
    ),
    *_because(
        "Another check refuses the same with the same code.",
        "acceptance.prove: without `if request.use != use`",
        "access._BAD_ESCAPE: '%(*{2})* -> '%(*{1})*",
        "ap_exchange.AP_SIGNED: 4 -> 3",
        "messages.(AS_REQ, TGS_REQ, AP_REQ, SYNC_REQ): 4 -> *",
        "wants._OK: 64 -> 65",
        "wants.RESULTS: 7 -> 6",
        "wants.RESULTS: 13 -> 14",
        "messages.(_SHORT_ARRAY, _ARRAY16): 220 -> *",
        "messages.parse_signed: 3 -> *",
        "messages.parse_signed: without *",
        "messages.parse_signed: body[0] != _ARRAY16 and * -> body[0] & *",
        "messages.parse_signed: body[0] != _ARRAY16 -> *",
        "messages.parse_signed: len(body) < at + 2 *",
        "messages.parse_signed: 2 -> *",
        "messages.parse_signed: 1 -> * (2)",
        "http_profile._BINDING: 300 -> *",
        "http_profile._BINDING: 1 -> * (2)",
        "http_profile._BINDING: 128 -> *",
        "http_profile._METHOD: *{1,32}* -> *{0,32}*",
        "http_profile._CHALLENGE: *{1,128}* -> *{0,128}*",
        "http_profile._CHALLENGE: *{1,128}* -> *{1,129}*",
        "http_profile.canonical_authority: 1 -> *",
        "http_profile._AUTHORITY: *:[1-9][0-9]{0,4}' -> *:[1-9][0-9]{0,5}'",
        "http_profile._LOOSE_AUTHORITY: *(?::([1-9][0-9]{0,4}))?' -> *(?::([1-9][0-9]{0,5}))?'",
        "canonical.nested_set: 1 -> 2",
        "canonical.nested_set: 1 -> 0",
        "discharges._DISCHARGE: 1 -> 2",
        "role_keys.Secret._check: without *",
        "role_keys.Secret._check: * -> type(value) is not bytes",
        "keytab.Keytab.from_bytes: len(content) < len(_MAGIC) + 34 -> *",
        "keytab.Keytab.from_bytes: len(content) < len(_MAGIC) + 34 or * -> not *",
        "keytab.Keytab.from_bytes: 34 -> *",
        "keytab.Keytab.from_bytes: len(record) != size or len(entries) == _MOST_RECORDS -> len(entries) *",
        "keytab.Keytab.from_text: encoded == stripped or * -> encoded == *",
        "evidence.peek_unverified_evidence: without `if header.*",
        "messages._SIGNED: 4 -> *",
        "ap_exchange._REQUEST: 16 -> 17",
        "ap_exchange._REQUEST: 16 -> 15",
        "tgs_exchange._REQUEST: 16 -> 17",
        "tgs_exchange._REQUEST: 16 -> 15",
        "evidence.BEHALF: 16 -> *",
        "discharges._OF_HOLDER: 16 -> *",
        "as_exchange._REPLY: 16 -> 15 (2)",
        "authenticators.bind_raw: without *",
        "authenticators.bind_raw: endpoint.isprintable() and *",
        "authenticators.bind_raw: 1 -> 0",
        "canonical._unpack: 0 -> *",
        "access.canonical_network: without *",
    ),
    *_because(
        "It chooses a faster way to the same verdict.",
        "access.canonical_path: 1 -> 0",
        "replay.ReplaySet.admit: floor > self._floor -> floor >= self._floor",
        "caveats.parse_caveat: len(encoded) > 1 and encoded[0] & 240 == 144 -> len(*",
    ),
    *_because(
        "A helper of the client or the KDC that decides nothing about a message.",
        "derivation.RunningDigest.update: *",
        "discharges.peek_unverified_discharger: *",
        "evidence.Behalf.lineage: *",
        "instants.timestamp_of: *",
        "keytab.Keytab.save: *",
        "keytab.Keytab.verify_only: without `kept.append(entry)`",
        "messages.build_nak: *",
        "role_keys.TicketSealingKey.ticket_type: 0 -> *",
        "http_fields.stated_length: *",
    ),
    *_because(
        "What a wire form cannot hold: the schema has refused it before the object is made.",
        "caveats.PeerCaveat.__attrs_post_init__: without *",
        "caveats.PeerCaveat.__attrs_post_init__: type(network) is not str or *",
        "wants._check_result: items and items[0] == 0 -> items[0] == 0",
        "caveats._METHOD: '*{1,20}' -> '*{0,20}'",
    ),
    *_because(
        "A further limit of header characters, so that no long text is searched; what it refuses is refused anyway.",
        "http_profile._MOST_HEADER_CHARS: 4 -> 5",
        "http_profile._MOST_HEADER_CHARS: 3 -> 2",
        "http_profile._MOST_HEADER_CHARS: 2048 -> *",
        "http_profile._MOST_PROOF_CHARS: 4 -> 5",
        "http_profile._MOST_PROOF_CHARS: 3 -> 2",
        "http_profile._MOST_PROOF_CHARS: 512 -> *",
        "http_profile.parse_authorization: len(value) <= _MOST_HEADER_CHARS -> len(value) < _MOST_HEADER_CHARS",
        "http_profile._reply_parts: len(value) <= _MOST_PROOF_CHARS -> len(value) < _MOST_PROOF_CHARS",
        "http_profile.parse_challenge: len(value) <= _MOST_PROOF_CHARS -> len(value) < _MOST_PROOF_CHARS",
    ),
)


def reason_of(label: str) -> str | None:
    """Why no vector can see this fault; None if one should."""
    return next((entry.reason for entry in KNOWN if entry.names(label)), None)
