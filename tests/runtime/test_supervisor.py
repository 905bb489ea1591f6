"""Whom a program tells that it is ready."""

from orthros_runtime.supervisor import Supervisor, take_supervisor


def test_the_variable_is_not_left_for_children() -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "PATH": "/bin"}
    assert take_supervisor(environ) == Supervisor("/run/notify")
    assert environ == {"PATH": "/bin"}


def test_without_a_supervisor_nothing_is_sent() -> None:
    supervisor = take_supervisor({})
    supervisor.ready()
    supervisor.reloading()
    supervisor.stopping()
    assert supervisor == Supervisor()
