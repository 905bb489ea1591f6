"""One WSGI server that says how it names headers: `python names_server.py SERVER`, then `listening on PORT`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from orthros_client.integrations.wsgi_servers import tells_names_apart


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = json.dumps([environ.get("HTTP_X_FORWARDED_FOR"), tells_names_apart(environ)]).encode("ascii")
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def say(port: int) -> None:
    print(f"listening on {port}", flush=True)


def wsgiref() -> None:
    from wsgiref.simple_server import make_server

    server = make_server("127.0.0.1", 0, app)
    say(server.server_port)
    server.serve_forever()


def werkzeug() -> None:
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app)
    say(server.port)
    server.serve_forever()


def waitress() -> None:
    server = import_module("waitress.server").create_server(app, host="127.0.0.1", port=0)
    say(server.effective_port)
    server.run()


def gevent() -> None:
    server = import_module("gevent.pywsgi").WSGIServer(("127.0.0.1", 0), app)
    server.start()
    say(server.server_port)
    server.serve_forever()


def tornado() -> None:
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop
    from tornado.netutil import bind_sockets
    from tornado.wsgi import WSGIContainer

    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(WSGIContainer(app))
    server.add_sockets(sockets)
    say(sockets[0].getsockname()[1])
    IOLoop.current().start()


def gunicorn() -> None:
    base: Any = import_module("gunicorn.app.base")

    class Application(base.BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            self.cfg.set("bind", "127.0.0.1:0")
            self.cfg.set("when_ready", lambda arbiter: say(arbiter.LISTENERS[0].sock.getsockname()[1]))

        def load(self) -> Any:
            return app

    Application().run()


SERVERS: dict[str, Callable[[], None]] = {
    "wsgiref": wsgiref, "werkzeug": werkzeug, "waitress": waitress, "gevent": gevent, "tornado": tornado,
    "gunicorn": gunicorn,
}  # fmt: skip


if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
