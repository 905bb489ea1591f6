"""Serves `echo_service` with what has no program of its own: `python -m serve KIND PORT`."""

from __future__ import annotations

import asyncio
import sys
from wsgiref.simple_server import make_server

from a2wsgi import WSGIMiddleware

from tests.e2e.programs import echo_service

HOST = "127.0.0.1"


def wsgiref(port: int) -> None:
    make_server(HOST, port, echo_service.wsgi).serve_forever()


def runserver(port: int) -> None:
    """Django's, as its command starts it."""
    from django.core.servers.basehttp import WSGIServer, run  # type: ignore[import-untyped]

    run(HOST, port, echo_service.wsgi, threading=True, server_cls=WSGIServer)


def gevent(port: int) -> None:
    from gevent.pywsgi import WSGIServer  # type: ignore[import-untyped]

    WSGIServer((HOST, port), echo_service.wsgi, log=None).serve_forever()


def tornado(port: int) -> None:
    from tornado.httpserver import HTTPServer
    from tornado.wsgi import WSGIContainer

    async def run() -> None:
        HTTPServer(WSGIContainer(echo_service.wsgi)).listen(port, HOST)
        await asyncio.Event().wait()

    asyncio.run(run())


def werkzeug(port: int) -> None:
    from werkzeug.serving import run_simple

    run_simple(HOST, port, echo_service.wsgi, threaded=True)


a2wsgi = WSGIMiddleware(echo_service.wsgi)  # type: ignore[arg-type]  # for uvicorn

if __name__ == "__main__":
    {one.__name__: one for one in (wsgiref, runserver, gevent, tornado, werkzeug)}[sys.argv[1]](int(sys.argv[2]))
