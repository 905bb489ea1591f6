"""What a WSGI environ can say of a header depends on the server that made it (PEP 3333 leaves the names to CGI).

A table of servers that were tried; one that is not in it is trusted with less.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["tells_names_apart"]

# They drop headers whose names have an underscore, so that HTTP_X_FORWARDED_FOR is X-Forwarded-For. uWSGI, granian,
# Tornado, a2wsgi and wsgiref do not: there it is either, or both joined; Django's development server, which does, calls
# itself as wsgiref. gunicorn began with 22.
_DROPPING: Final = re.compile(r"gunicorn/(?:2[2-9]|[3-9][0-9])\.|waitress\b|Werkzeug/|gevent/", re.ASCII)


def tells_names_apart(environ: dict[str, Any]) -> bool:
    """Whether no header under another spelling of its name can be among those in `environ`."""
    return "mod_wsgi.version" in environ or _DROPPING.match(environ.get("SERVER_SOFTWARE") or "") is not None
