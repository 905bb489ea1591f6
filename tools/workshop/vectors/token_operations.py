"""The operations of tokens and of message signatures: JSON in, the KDC or the client called, JSON out.

These two are spoken with others than Orthros: JWT (RFC 7519) and HTTP message signatures (RFC 9421).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from orthros_client.http import message_signatures as signatures
from orthros_kdc.issuing import jwt_export, token_claims
from orthros_kdc.realm.vault import JwtKey
from orthros_protocol.errors import Refused
from orthros_protocol.keys.role_keys import KdcMacKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.testing.fakes import ManualStore
from workshop.vectors.parties import Inputs, Vector, mac_keys_of, unhex


def _key_of(given: Inputs) -> JwtKey:
    return JwtKey(unhex(given["key"]), kid=given["kid"], alg=given["alg"])


def _token(given: Inputs) -> Vector:
    row = given["content"]
    content = token_claims.TokenContent(
        issuer=row["issuer"], audience=row["audience"], client=Principal.parse(row["client"]),
        scopes=tuple(row["scopes"]), issued_at=row["iat"], ttl_s=row["ttl_s"], auth_time=row["auth_time"],
        txn=unhex(row["txn"]), jti=unhex(row["jti"]), subject=row["subject"], actors=tuple(row["actors"]),
        may_act=None if row["may_act"] is None else Principal.parse(row["may_act"]), extra=row["extra"],
    )  # fmt: skip
    mark = KdcMacKey(unhex(given["mac_key"]), number=given["mac_no"])
    return {"text": jwt_export.mint_token(_key_of(given["key"]), content, mark=mark, entropy=unhex(given["entropy"]))}


def _open_token(given: Inputs) -> Vector:
    keys = {key.kid: key for key in map(_key_of, given["keys"])}
    found = jwt_export.open_own_token(
        given["text"], keys, mac_keys_of(given["mac_keys"]), issuer=given["issuer"], audience=given["audience"],
        now=Timestamp(given["now"]),
    )  # fmt: skip
    return {
        "client": str(found.client), "subject": found.subject, "scopes": list(found.scopes), "jti": found.jti.hex(),
        "iat": found.iat, "exp": found.exp, "auth_time": found.auth_time, "txn": found.txn.hex(),
        "act": list(found.act), "may_act": found.may_act, "extra": dict(found.ext),
    }  # fmt: skip


def _signable(given: Inputs) -> signatures.Signable:
    return signatures.Signable(
        method=given["method"], target_uri=given["target_uri"], authority=given["authority"],
        headers=tuple((name, unhex(value)) for name, value in given["headers"]),
    )  # fmt: skip


def _sign(given: Inputs) -> Vector:
    parameters = signatures.SigningParameters(
        created=given["created"], expires=given["expires"], nonce=given["nonce"],
        keyid=signatures.key_id_of(unhex(given["ticket"])), tag=signatures.TAG,
    )  # fmt: skip
    secret = signatures.signature_key(unhex(given["pop_key"]))
    header, proof = signatures.sign(_signable(given["request"]), secret, parameters, given["components"])
    return {"signature_input": header, "signature": proof}


def _verify_signature(given: Inputs) -> Vector:
    held = signatures.SignatureKey(
        secret=signatures.signature_key(unhex(given["pop_key"])), client=given["client"], end=given["end"]
    )  # fmt: skip
    named = signatures.key_id_of(unhex(given["ticket"]))
    store = ManualStore(
        lambda: Timestamp(given["now"]), bytes(8), Timestamp(given.get("born", 0))
    )  # fmt: skip

    def verify() -> signatures.VerifiedSignature:
        return signatures.verify(
            _signable(given["request"]), given["signature_input"], given["signature"],
            lambda keyid: held if keyid == named else None, replay=store, repeatable=given["repeatable"],
        )  # fmt: skip

    for _earlier in range(given["earlier"]):
        with suppress(Refused):
            verify()
    found = verify()
    return {"keyid": found.keyid, "nonce": found.nonce, "components": list(found.components)}


TOKEN_OPERATIONS: Final[dict[str, Callable[[Inputs], Any]]] = {
    "token": _token,
    "open-token": _open_token,
    "sign": _sign,
    "verify-signature": _verify_signature,
}
