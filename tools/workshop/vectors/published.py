"""Published and normative values: constants from elsewhere, never computed by this code.

RFC 4231, RFC 5869's first case with SHA-512, NIST's AES-256-GCM cases with the zero nonce, and the first
vectors of the protocol's design. They run first, so that a bad backend shows itself.
"""

from __future__ import annotations

from workshop.vectors.parties import Vector

ROOT = bytes(range(32)).hex()


def _known(name: str, op: str, given: dict[str, object], out: dict[str, object]) -> Vector:
    return {"name": name, "op": op, "in": given, "out": out}


def _hmac(name: str, key: str, message: str, output: str) -> Vector:
    return _known(name, "hmac-sha512", {"key": key, "message": message}, {"output": output})


PUBLISHED: list[Vector] = [
    _hmac(
        "RFC 4231 test case 1", "0b" * 20, b"Hi There".hex(),
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
        "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
    ),
    _hmac(
        "RFC 4231 test case 2", b"Jefe".hex(), b"what do ya want for nothing?".hex(),
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ),
    _hmac(
        "RFC 4231 test case 3", "aa" * 20, "dd" * 50,
        "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39"
        "bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb",
    ),
    _hmac(
        "RFC 4231 test case 4", bytes(range(1, 26)).hex(), "cd" * 50,
        "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3db"
        "a91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd",
    ),
    _known(
        "RFC 5869 test case 1 with SHA-512, expand step", "hkdf-expand-sha512",
        {
            "prk": "665799823737ded04a88e47e54a5890bb2c3d247c7a4254a8e61350723590a26"
            "c36238127d8661b88cf80ef802d57e2f7cebcf1e00e083848be19929c61b4237",
            "info": bytes(range(0xF0, 0xFA)).hex(), "size": 42,
        },
        {"output": "832390086cda71fb47625bb5ceb168e4c8e26a1a16ed34d9fc7fe92c1481579338da362cb8d9f925d7cb"},
    ),
    _known(
        "NIST AES-256-GCM test case 13", "aes-256-gcm", {"key": "00" * 32, "nonce": "00" * 12, "plaintext": ""},
        {"sealed": "530f8afbc74536b9a963b4f1c4cb738b"},
    ),
    _known(
        "NIST AES-256-GCM test case 14", "aes-256-gcm",
        {"key": "00" * 32, "nonce": "00" * 12, "plaintext": "00" * 16},
        {"sealed": "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    ),
    _known(
        "FIPS 180-2 SHA-256 of abc", "digest", {"data": b"abc".hex()},
        {"output": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    ),
]  # fmt: skip

_K_AS = "2ef41f766a8dfedda73800c5736d0d63e70a150fbc802232999886608d498771"
_K_TICKET = "0d935ac98a71640719cb111aba06fd0d3b13d754965b4bdec80ca3f0767b9664"
_K_SYNC = "8c19c55a5488e8d4ab16b4120b2ed6df31f4ea3e12cee743d2c349d0f1df1a85"
# Not in the design, but between two values that are: a second implementation computed the same.
_T1 = "dfd113ef9e198f0ac4f198ad4333b045452ed6d55e4ab39db8fac56ecc8c7140"
_NO_CONTEXT: dict[str, object] = {"context": "", "size": 32}


def _role(label: str, key: str, kid: str) -> list[Vector]:
    return [
        _known(f"K_{label}", "derive", {"key": ROOT, "label": f"role.{label}", **_NO_CONTEXT}, {"output": key}),
        _known(f"kid of K_{label}", "derive", {"key": key, "label": "kid", "context": "", "size": 8}, {"output": kid}),
    ]


NORMATIVE: list[Vector] = [
    *_role("as", _K_AS, "8949da72cc9d113d"),
    *_role("ticket", _K_TICKET, "91eef328852a55f3"),
    *_role("sync", _K_SYNC, "6f7fa29e220cdef4"),
    _known(
        "MAC under K_as", "mac", {"key": _K_AS, "label": "as-req", "message": b"hello".hex()},
        {"output": "ff0840e38d9b841d0653da01d9d052d500dfc545b077884d483daa616846ac4a"},
    ),
    _known("context enc(ctx)", "encode", {"items": ["ctx"]}, {"bytes": "91a3637478"}),
    _known(
        "box under the root", "seal",
        {"key": ROOT, "label": "test", "context": "91a3637478", "plaintext": b"hello".hex(),
         "entropy": bytes(range(24)).hex()},
        {"box": "8d6cd4ebe81db9313ff3753ce4e5aab9c5c3b605123f5608"
                "4196834345516a9aadd9e924aa1c0af2b89f136f3406b86b809c523eb1302297"
                "0da7d639fee616b02b42b436ffb3a55f3cc91a928c"},
    ),
    _known("caveat expires", "encode", {"items": [1, 1_800_000_300]}, {"bytes": "9201ce6b49d32c"}),
    _known("caveat methods", "encode", {"items": [3, ["GET"]]}, {"bytes": "920391a3474554"}),
    _known(
        "T0 of the ticket `ticket`", "derive",
        {"key": bytes(range(0x40, 0x60)).hex(), "label": "chain0", "size": 32,
         "context": "14069429150abcbf244c4c2fb2c4c46a49c93ca9457263ecd9ebb176de3a58bb"},
        {"output": "a15e2fdb4f3faa6b650bb94cef5d050671fdb09db2b85d2e13679b1ed5498c5c"},
    ),
    _known(
        "K_pop(T2)", "derive",
        {"key": "a01a006664475df82c1bd521bc7e4f70aae7a4871a2ef6d523662d95f8bd7eba", "label": "pop", **_NO_CONTEXT},
        {"output": "924412f7c168c92ad37a0094ed7916c2303c0d01a079fe03b7c0e09b56853202"},
    ),
    _known(
        "T0, T1, T2 and K_pop of one chain", "chain",
        {"session_key": bytes(range(0x40, 0x60)).hex(), "ticket": b"ticket".hex(),
         "caveats": ["9201ce6b49d32c", "920391a3474554"]},
        {"tails": ["a15e2fdb4f3faa6b650bb94cef5d050671fdb09db2b85d2e13679b1ed5498c5c", _T1,
                   "a01a006664475df82c1bd521bc7e4f70aae7a4871a2ef6d523662d95f8bd7eba"],
         "pop_key": "924412f7c168c92ad37a0094ed7916c2303c0d01a079fe03b7c0e09b56853202"},
    ),
]  # fmt: skip
