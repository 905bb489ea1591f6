"""Asks dischargers for `requests_auth`, before a request leaves: an authentication of requests cannot send in between.

Knows which demands go where, and nothing of the request that they are collected for.
"""

from __future__ import annotations

from typing import Any, Final

from orthros_client.credentials.credentials import Pause
from orthros_client.errors import PeerMisbehaved, Unavailable
from orthros_client.http.client.authentication import Steps
from orthros_client.http.client.discharges import (
    MEDIA_TYPE,
    MOST_ANSWER_BYTES,
    PATH,
    asking,
    check_size,
    given,
    too_long,
)
from orthros_client.http.client.outgoing import Attempt, Proven
from orthros_client.http.client.sources import Place
from orthros_client.integrations.urllib3_messages import lowered
from orthros_client.reasons import TARGET_UNREACHABLE
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_protocol.tickets.discharges import Discharge
from orthros_runtime.extras import extra

with extra("requests"):
    import requests
    import requests.auth
    import urllib3

__all__ = ["ask_discharger"]

_TIMEOUT_S: Final = 10.0


def ask_discharger(place: Place, cid: bytes, source: Any, session: requests.Session | None) -> Discharge:
    """The discharge of the demand `cid`, asked for at `place`; `session` is what with, None makes one for it.

    Raises DischargeRefused, Unavailable, PeerMisbehaved, or what the source of credentials raises.
    """
    steps = asking(place.ask(source), place.origin, cid)
    if session is not None:
        return _run(session, steps, place, cid)
    with requests.Session() as own:
        return _run(own, steps, place, cid)


def _run(session: requests.Session, steps: Steps, place: Place, cid: bytes) -> Discharge:
    step = next(steps)
    while True:
        while isinstance(step, Pause):
            step.block()
            step = steps.send(None)
        try:
            response = _send(session, place, cid, step)
            with response:
                head = HttpResponse(status=response.status_code, headers=lowered(response.raw))
                try:
                    step = steps.send(head)
                except StopIteration as done:
                    return given(done.value, cid, _body(head, done.value, response))
        except requests.Timeout:
            raise Unavailable("timeout", f"{place.target} at {place.origin}: nothing within {_TIMEOUT_S:g} s") from None
        except requests.ConnectionError as error:
            raise Unavailable(TARGET_UNREACHABLE, f"{place.target} at {place.origin}: {error}") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise PeerMisbehaved("connection-truncated", f"{place.target} at {place.origin}: {error}") from None


def _send(session: requests.Session, place: Place, cid: bytes, attempt: Attempt) -> requests.Response:
    url = f"{place.origin}{PATH}"
    headers = {"Content-Type": MEDIA_TYPE, "Accept-Encoding": "identity"}
    if attempt.content_digest is not None:
        headers["Content-Digest"] = attempt.content_digest.decode("ascii")
    request = requests.Request("POST", url, headers=headers, data=cid, auth=_Stated(attempt.authorization))
    settings = session.merge_environment_settings(url, {}, True, None, None)
    return session.send(session.prepare_request(request), allow_redirects=False, timeout=_TIMEOUT_S, **settings)


class _Stated(requests.auth.AuthBase):
    """An authenticator that is made already. In the way of the session's, and of what a .netrc says."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = self._value
        return r


def _body(head: HttpResponse, proven: Proven, response: requests.Response) -> bytes:
    check_size(head, proven)
    body: bytes = response.raw.read(MOST_ANSWER_BYTES + 1, decode_content=False)
    if len(body) > MOST_ANSWER_BYTES:
        raise too_long(proven.target)
    if proven.body is not None:
        proven.body.feed(body)
        proven.body.finish()
    return body
