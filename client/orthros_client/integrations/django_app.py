"""Django: Orthros as an app of a project. The setting `ORTHROS` has the options, and `manage.py check` finds mistakes.

The credentials are verified by the WSGI or ASGI middleware around Django's handler. Needs `django`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orthros_client.errors import OrthrosError
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware
from orthros_runtime.extras import framework

if TYPE_CHECKING:
    from orthros_client.integrations.asgi import OrthrosMiddleware

with framework("Django"):
    from django import conf  # type: ignore[import-untyped]
    from django.apps import AppConfig  # type: ignore[import-untyped]
    from django.core import checks  # type: ignore[import-untyped]
    from django.utils.module_loading import import_string  # type: ignore[import-untyped]

__all__ = ["OrthrosConfig", "asgi_application", "wsgi_application"]

_ORIGINS = (
    'Write ORTHROS = {"origins": ["https://orders.example"]}, with the options of every middleware, into the settings.'
)


def wsgi_application() -> OrthrosWsgiMiddleware:
    """For `wsgi.py`, in the place of Django's `get_wsgi_application()`. Raises as the middleware."""
    from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]

    return OrthrosWsgiMiddleware(get_wsgi_application(), **conf.settings.ORTHROS)


def asgi_application() -> OrthrosMiddleware:
    """The same for `asgi.py`. Needs the extra `asgi`."""
    from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]

    from orthros_client.integrations.asgi import OrthrosMiddleware

    return OrthrosMiddleware(get_asgi_application(), **conf.settings.ORTHROS)


class OrthrosConfig(AppConfig):  # type: ignore[misc]
    """For INSTALLED_APPS: `orthros_client.integrations.django_app.OrthrosConfig`."""

    name = "orthros_client.integrations.django_app"
    label = "orthros"

    def ready(self) -> None:
        """What Django calls once the apps are there."""
        checks.register(check_guarded, checks.Tags.security)


def check_guarded(app_configs: Any = None, **_options: Any) -> list[Any]:
    """What keeps the project from being guarded, as `manage.py check` and `runserver` show it."""
    return list(_found())


def _found() -> Iterator[Any]:
    given = getattr(conf.settings, "ORTHROS", None)
    if not isinstance(given, Mapping) or not given.get("origins"):
        yield checks.Error("the setting ORTHROS names no origins", hint=_ORIGINS, id="orthros.E001")
        return
    # Without WSGI_APPLICATION, runserver serves Django's handler by itself.
    for name, function in (("WSGI_APPLICATION", "wsgi_application"), ("ASGI_APPLICATION", "asgi_application")):
        path = getattr(conf.settings, name, None)
        if path is None and name == "ASGI_APPLICATION":
            continue
        try:
            application = None if path is None else import_string(path)
        except (OrthrosError, TypeError) as error:
            hint = getattr(error, "remedy", "See the options of the middlewares in docs/http-services.md.")
            yield checks.Error(f"{name}: {getattr(error, 'detail', error)}", hint=hint, id="orthros.E002")
            continue
        if not hasattr(application, "guard"):
            module = (path or "project.wsgi.application").rpartition(".")[0]
            hint = f"In {module}: `from {__name__} import {function}`, then `application = {function}()`."
            yield checks.Error(f"{name} is not guarded by Orthros: {path}", hint=hint, id="orthros.E003")
