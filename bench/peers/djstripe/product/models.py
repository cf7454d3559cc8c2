"""The product's user."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """Its key is a text, as in the other apps; dj-stripe finds it by what stands in the customer's metadata."""

    id = models.CharField(primary_key=True, max_length=200)
