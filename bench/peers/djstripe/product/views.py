"""What is asked over HTTP."""

import jwt
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from .access import access_of


def access(request: HttpRequest) -> HttpResponse:
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(token, settings.AUTH_SECRET, algorithms=["HS256"], audience="corkage")
    except jwt.InvalidTokenError:
        return HttpResponse("unauthorized", status=401)
    return JsonResponse(access_of(claims["sub"]))


def health(_request: HttpRequest) -> HttpResponse:
    return JsonResponse({"ok": True})
