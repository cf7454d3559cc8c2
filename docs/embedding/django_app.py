"""A Django project with billing. Run it: waitress-serve --port 8000 django_app:application"""

import os

from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from corkage import Billing, BillingError, Config, Identity

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_settings")


def signed_in(environ):
    request = WSGIRequest(environ)
    SessionMiddleware(lambda _: None).process_request(request)
    user = request.session.get("user")  # with django.contrib.auth: get_user(request).pk, as a text
    return Identity(user) if user else None


class Refusing(MiddlewareMixin):
    def process_exception(self, _request, error):  # 401 for nobody, 402 for who has not paid
        return JsonResponse(error.to_dict(), status=error.http_status) if isinstance(error, BillingError) else None


def sign_in(request):  # stands for yours
    request.session["user"] = request.POST["name"]
    return HttpResponse()


def export(request):
    access = billing.admit(request.session.get("user"), feature="exports")
    return HttpResponse(f"{access.user_id}'s notes")


urlpatterns = [path("sign-in", sign_in), path("export", export)]
billing = Billing(Config.from_env(), authenticate=signed_in)
application = billing.middleware(get_wsgi_application())  # at /billing
