"""The Orthros protocol, for programs that speak it themselves: as a client, as a target, as a discharger.

What is here is public and listed in docs/library.md. Every other name of the package may change with any version, the
KDC's half of each message among them. Services need `orthros_client` alone.
"""

from orthros_protocol.errors import (
    LocalMisuse,
    Malformed,
    Misconfigured,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    Unavailable,
)
from orthros_protocol.exchanges.acceptance import (
    AcceptanceRules,
    Accepted,
    Received,
    accept,
    build_ap_reply,
    judge,
    prove,
)
from orthros_protocol.exchanges.ap_exchange import (
    SAFE,
    USE_CHANNEL,
    USE_HTTP,
    USE_KDC,
    USE_RAW,
    ApRequest,
    AssertedUser,
    TargetRefusal,
    open_ap_reply,
    parse_ap_request,
    sign_ap_request,
)
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.authenticators import bind_raw, measure_offset
from orthros_protocol.exchanges.epochs import Repetition
from orthros_protocol.exchanges.http_profile import (
    HttpBinding,
    HttpResponse,
    canonical_authority,
    format_authorization,
    format_challenge,
    format_content_digest,
    open_http_reply,
    parse_authorization,
    parse_challenge,
    parse_content_digest,
    seal_http_reply,
)
from orthros_protocol.exchanges.replay import Admission, Entry, ReplaySet, ReplayStore, Standing
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import EXACT, WANT_DELEGABLE, WANT_JWT, WANT_TICKET, Granted, NotGranted, Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.access import Access
from orthros_protocol.tickets.attenuation import (
    add_caveat,
    join_caveats,
    mix_discharges,
    pop_key_of,
    tail_after,
    tail_of,
)
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
)
from orthros_protocol.tickets.credential import Credential
from orthros_protocol.tickets.discharges import (
    DemandSource,
    demand_of_holder,
    make_discharge,
    narrow_discharge,
    open_demand,
    open_discharge,
    seal_discharge,
)
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.hand_over import open_hand_over, seal_hand_over
from orthros_protocol.tickets.presented import open_presented

__all__ = [
    "EXACT",
    "KDC_TGT",
    "SAFE",
    "USE_CHANNEL",
    "USE_HTTP",
    "USE_KDC",
    "USE_RAW",
    "WANT_DELEGABLE",
    "WANT_JWT",
    "WANT_TICKET",
    "AcceptanceRules",
    "Accepted",
    "Access",
    "Admission",
    "ApRequest",
    "AppCaveat",
    "AssertedUser",
    "Behalf",
    "ChainRule",
    "ChannelCaveat",
    "Credential",
    "DemandSource",
    "Entry",
    "ExpiresCaveat",
    "FrameReader",
    "Granted",
    "HttpBinding",
    "HttpResponse",
    "KdcRefusal",
    "Keytab",
    "LocalMisuse",
    "Malformed",
    "MethodsCaveat",
    "Misconfigured",
    "NotGranted",
    "OrthrosError",
    "PathCaveat",
    "PeerCaveat",
    "PeerMisbehaved",
    "Principal",
    "Received",
    "Refused",
    "Repetition",
    "ReplaySet",
    "ReplayStore",
    "ScopesCaveat",
    "Standing",
    "TargetRefusal",
    "TargetsCaveat",
    "Timestamp",
    "Unavailable",
    "Want",
    "accept",
    "add_caveat",
    "bind_raw",
    "build_ap_reply",
    "build_as_request",
    "build_tgs_request",
    "canonical_authority",
    "demand_of_holder",
    "format_authorization",
    "format_challenge",
    "format_content_digest",
    "frame",
    "join_caveats",
    "judge",
    "make_discharge",
    "measure_offset",
    "mix_discharges",
    "narrow_discharge",
    "open_ap_reply",
    "open_as_reply",
    "open_demand",
    "open_discharge",
    "open_hand_over",
    "open_http_reply",
    "open_presented",
    "open_tgs_reply",
    "parse_ap_request",
    "parse_authorization",
    "parse_challenge",
    "parse_content_digest",
    "pop_key_of",
    "prove",
    "seal_discharge",
    "seal_hand_over",
    "seal_http_reply",
    "sign_ap_request",
    "tail_after",
    "tail_of",
]
