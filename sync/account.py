"""Which account the key belongs to: one database mirrors one Stripe account."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..models import remember, remember_once, setting

if TYPE_CHECKING:
    from .gateway import Gateway


class Account:
    """The account that the key belongs to, for ever: of a key that the file has seen Stripe is not asked again."""

    def __init__(self, secret_key: str) -> None:
        self._key_id = hashlib.sha256(secret_key.encode()).hexdigest()  # nobody can turn it back into the key
        self._is_checked = False

    def check(self, gateway: "Callable[[], Gateway]") -> None:
        """Check that the database mirrors the key's account, where the key may read it.

        Shape   gateway: called only when Stripe has to be asked
        Errors  ConfigError when it is another; StripeError as the gateway's
        """
        if self._is_checked:
            return
        if setting("account_key") != self._key_id:
            self._ask(gateway())
        self._is_checked = True

    def _ask(self, gateway: "Gateway") -> None:
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
