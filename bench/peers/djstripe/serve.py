"""Serve the project with waitress."""

import logging
import os

import waitress
from django.core.wsgi import get_wsgi_application

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "product.settings")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # else a line for each request that waits for a thread
    application = get_wsgi_application()
    waitress.serve(application, host="127.0.0.1", port=int(os.environ["PORT"]), threads=8, connection_limit=1000)
