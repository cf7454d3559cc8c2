"""The check that the key belongs to the Stripe account that the database mirrors."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..models import remember, remember_once, setting

if TYPE_CHECKING:
    from .gateway import Gateway


class Account:
    """The account of the key. A known key is not checked at Stripe again: a key never changes its account."""

    def __init__(self, secret_key: str) -> None:
        self._key_id = hashlib.sha256(secret_key.encode()).hexdigest()  # the key itself is not stored
        self._is_checked = False

    def check(self, gateway: "Callable[[], Gateway]") -> None:
        """Check that the database mirrors the key's account. A key that may not read its account passes.

        Shape   gateway: called only for an unknown key
        Errors  ConfigError when it mirrors another account; StripeError as the gateway's
        """
        if self._is_checked:
            return
        if setting("account_key") != self._key_id:
            self._compare(gateway())
        self._is_checked = True

    def is_confirmed(self) -> bool:
        """Return whether Stripe itself has named the key's account as the one that the database mirrors."""
        return setting("account_key") == self._key_id

    def _compare(self, gateway: "Gateway") -> None:
        account = gateway.account_id()
        if account is None:
            return
        if (remembered := remember_once("account", account)) != account:
            raise ConfigError(
                [
                    f"STRIPE_SECRET_KEY: belongs to another Stripe account ({account}) than the database mirrors "
                    f"({remembered}): use that account's key, or another BILLING_DATABASE"
                ]
            )
        remember("account_key", self._key_id)
