"""The user's row, and the events already handled."""

import os

from peewee import BooleanField, CharField, IntegerField, Model, SqliteDatabase

db = SqliteDatabase(os.environ["DATABASE"], pragmas={"journal_mode": "wal", "synchronous": "full"}, timeout=30)


class BaseModel(Model):
    class Meta:
        database = db


class User(BaseModel):
    id = CharField(primary_key=True)
    stripe_customer_id = CharField(null=True, unique=True)
    stripe_subscription_id = CharField(null=True)
    stripe_price_id = CharField(null=True)
    subscription_status = CharField(null=True)
    current_period_end = IntegerField(null=True)
    cancel_at_period_end = BooleanField(default=False)


class StripeEvent(BaseModel):
    id = CharField(primary_key=True)
    type = CharField()


def access_of(user_id):
    user = User.get_or_none(User.id == user_id)
    status = user.subscription_status if user else None
    return {"allowed": status in ("active", "trialing"), "status": status}
