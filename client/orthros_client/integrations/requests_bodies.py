"""The bodies that requests knows besides those of urllib3: prepared ones, and the forms of requests-toolbelt.

Knows neither targets nor credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orthros_client.http.client.file_body import FileBody
from orthros_client.integrations.urllib3_messages import PathFile, RepeatableFile, rewound
from orthros_runtime.extras import extra

with extra("requests"):
    import requests

__all__ = ["readable_again"]


def readable_again(r: requests.PreparedRequest) -> RepeatableFile | None:
    """The body of a request as one that can be read as often as needed; None for one that can be read once."""
    body: Any = r.body
    if isinstance(body, FileBody):
        return RepeatableFile(lambda: PathFile(body))
    position = getattr(r, "_body_position", None)  # where requests would go back to
    if isinstance(position, int):
        return RepeatableFile(lambda: rewound(body, position))
    # Of requests-toolbelt, a MultipartEncoder, or a monitor around one.
    encoder = getattr(body, "encoder", body)
    if not hasattr(encoder, "boundary_value"):
        return None
    files = _files_of(encoder.fields)
    if files is None:
        return None
    return RepeatableFile(lambda: _encoded(body, encoder, files))


def _files_of(fields: Any) -> list[tuple[Any, int]] | None:
    """The files of a form, and where each begins; None where one cannot be rewound, or the fields are gone by now."""
    if not isinstance(fields, (Mapping, list, tuple)):
        return None
    values = [value for _name, value in (fields.items() if isinstance(fields, Mapping) else fields)]
    contents = [value[1] if isinstance(value, (list, tuple)) else value for value in values]
    found: list[tuple[Any, int]] = []
    for content in contents:
        if hasattr(content, "read"):
            if not (hasattr(content, "seekable") and content.seekable()):
                return None
            found.append((content, content.tell()))
    return found


def _encoded(body: Any, encoder: Any, files: list[tuple[Any, int]]) -> Any:
    for file, position in files:
        file.seek(position)
    fresh = type(encoder)(encoder.fields, encoder.boundary_value, encoder.encoding)
    if body is encoder:
        return fresh
    body.encoder, body.bytes_read = fresh, 0
    return body
