"""Django with Orthros as an app of a project: `manage.py check` and `manage.py runserver`, the real commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from orthros_protocol.testing import InMemoryRealm, ManualClock
from tests.e2e.test_every_server import free_port, is_open
from tests.support.http_caller import wall_clock
from tests.support.http_servers import caller_of, transfer
from tests.support.processes import eventually
from workshop.stage import Stage

pytestmark = pytest.mark.stories

ROOT: Final = Path(__file__).parents[2]
SETTINGS: Final = """\
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "of a test"
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
INSTALLED_APPS = ["orthros_client.integrations.django_app.OrthrosConfig"]
MIDDLEWARE = ["orthros_client.integrations.django.CallerMiddleware"]
ORTHROS = {"origins": ["https://orders.example"]}
"""
URLS: Final = """\
from django.http import HttpResponse
from django.urls import path
from orthros_client.integrations.django import require

@require("read")
def show(request):
    return HttpResponse(str(request.orthros.client))

@require("admin")
def rule(request):
    raise AssertionError("reached without its scope")

urlpatterns = [path("orders", show), path("admin", rule)]
"""
WSGI: Final = """\
from orthros_client.integrations.django_app import wsgi_application

application = wsgi_application()
"""
MANAGE: Final = """\
import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""


def write(folder: Path, **changes: str) -> None:
    """A project, with other lines in the settings or another wsgi.py."""
    (folder / "shop").mkdir(exist_ok=True)
    files = {"shop/settings.py": SETTINGS, "shop/urls.py": URLS, "shop/wsgi.py": WSGI, "manage.py": MANAGE}
    for name, content in files.items():
        (folder / name).write_text(changes.get(Path(name).stem, content))


def environ_of(folder: Path) -> dict[str, str]:
    return {
        "ORTHROS_KEY_FILE": f"{folder}/orders.key",
        "ORTHROS_REPLAY_STORE": "memory",
        "PYTHONPATH": f"{ROOT}:{folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/usr/bin:/bin",
    }


def checked(folder: Path) -> str:
    command = [sys.executable, "manage.py", "check"]
    done = subprocess.run(
        command, cwd=folder, env=environ_of(folder), capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parity("O11")
def test_mistakes_of_a_project_are_errors_with_remedies(tmp_path: Path) -> None:
    realm = InMemoryRealm()
    write(tmp_path)
    assert "orthros.E002" in (said := checked(tmp_path))  # there is no key file
    assert "orders.key: No such file" in said
    realm.add("orders").verify_only().save(tmp_path / "orders.key")
    assert "no issues" in checked(tmp_path)
    write(tmp_path, settings=SETTINGS.replace("ORTHROS", "ORTROS"))
    assert 'ORTHROS = {"origins"' in checked(tmp_path)
    write(tmp_path, settings=SETTINGS.replace('"origins"', '"route": [], "origins"'))
    assert "there is no option 'route'" in checked(tmp_path)
    plain = "from django.core.wsgi import get_wsgi_application\n\napplication = get_wsgi_application()\n"
    write(tmp_path, wsgi=plain)
    assert "`application = wsgi_application()`" in checked(tmp_path)


@pytest.mark.parity("O11", "L19")
def test_runserver_serves_verified_callers_only() -> None:
    realm = InMemoryRealm(clock=ManualClock(wall_clock()))
    for principal in ("shop", "orders"):
        realm.add(principal)
    with Stage("orthros-django-") as stage:
        folder, port = stage.folder, free_port()
        write(folder)
        realm.keytab("orders").verify_only().save(folder / "orders.key")
        words = [str(folder / "manage.py"), "runserver", "--noreload", f"127.0.0.1:{port}"]
        process = stage.start("runserver", sys.executable, *words, environ=environ_of(folder))
        eventually(lambda: not process.is_running or is_open(port), "runserver accepts connections")
        assert process.is_running, process.errors()
        caller = caller_of(realm, "read")
        stranger = caller.call("GET", b"/orders").without("authorization")
        assert transfer(port, stranger).status == 401
        first = caller.call("POST", b"/orders")
        caller.refusal(first, transfer(port, first))
        for target, status in ((b"/orders", 200), (b"/admin", 403), (b"/nowhere", 404)):
            call = caller.call("GET", target)
            received = transfer(port, call)
            caller.open(call, received)
            assert received.status == status
