"""A Django service that knows who calls: `gunicorn -w 2 --threads 4 django_service:application`."""

import json

import structlog
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from orthros_client import Verifier
from orthros_client.integrations.django import require
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware, Route

log = structlog.get_logger()
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["orders.example"],
    MIDDLEWARE=["orthros_client.integrations.django.CallerMiddleware"],
)


@require_GET
def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@require_GET
@require("read")
def show(request: HttpRequest, number: int) -> JsonResponse:
    return JsonResponse({"order": number, "for": str(request.orthros.client)})


@require_POST
@require("write")
def place(request: HttpRequest) -> JsonResponse:
    order = json.loads(request.body)  # raises, and is refused, unless it is what the caller has sent
    caller, traceparent = request.orthros, request.headers.get("traceparent")
    log.info("order-placed", client=str(caller.client), txn=caller.transaction_id, traceparent=traceparent)
    return JsonResponse({"placed": order, "txn": caller.transaction_id, "traceparent": traceparent})


urlpatterns = [path("health", health), path("orders/<int:number>", show), path("orders", place)]
application = OrthrosWsgiMiddleware(
    get_wsgi_application(),
    verifier=Verifier.from_environment(),
    origins=["https://orders.example"],
    routes=[Route("/health", public=True)],
)
