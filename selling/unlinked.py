"""Payers who belong to no user: whether somebody who buys may be one of them, and pay a second time.

Nothing here may say to a stranger that an e-mail pays. Whoever can sign up with somebody else's e-mail would learn it
from being asked. So only a buyer whose e-mail the product has verified is asked because of it; any other buyer with an
e-mail is asked while there is any such payer at all, and what is done for one is done for all.
"""

import shlex
from collections.abc import Mapping

from .. import storage
from ..access import LIVE
from ..errors import MaybeSubscribed
from ..logs.facts import logger
from ..plans import Plan
from ..storage import writing
from ..texts import email_key
from . import attempts
from .buyer import Buyer, Wish

_ANY = """
SELECT c.id, c.unowned_email = ?
FROM corkage_customer AS c
JOIN corkage_subscription AS s ON s.customer_id = c.id
JOIN corkage_subscription_item AS i ON i.subscription_id = s.id
JOIN corkage_price AS p ON p.id = i.price_id
WHERE c.unowned_email IS NOT NULL AND c.user_id IS NULL AND c.deleted_at IS NULL AND c.missing_at IS NULL
    AND s.status IN ({statuses}) AND p.plan IN ({plans})
ORDER BY 2 DESC, 1
LIMIT 1
"""

log = logger("corkage.checkout")


def refuse_maybe_subscribed(buyer: Buyer, wish: Wish, plans: Mapping[str, Plan], now: float) -> None:
    """Raise MaybeSubscribed for a buyer who may pay already, unless they were asked, and want to buy.

    The operator reads in the log whose e-mail it is, and the doctor finds it with the e-mail that is stored here.
    """
    if wish.again or wish.plan.adds or not buyer.email:
        return
    found = _payer(email_key(buyer.email), [each.key for each in plans.values() if each.in_group == wish.plan.in_group])
    if found is None:
        return
    customer_id, has_this_email = found
    if buyer.has_verified_email and not has_this_email:
        return
    with writing():
        attempts.know(buyer, now)
    if has_this_email:
        log.warning(
            "user %s wants to buy, and %s, who pays for a plan and belongs to no user, has the same e-mail%s. They were"
            " asked. If it is theirs: corkage user link %s %s",
            buyer.user_id,
            customer_id,
            "" if buyer.has_verified_email else ", which your product does not say is verified",
            shlex.quote(buyer.user_id),
            customer_id,
        )
    raise MaybeSubscribed(f"user {buyer.user_id} may pay for a plan of group {wish.plan.in_group} already")


def _payer(key: str, plans: list[str]) -> tuple[str, bool] | None:
    """Return a customer without a user who pays for one of the plans, one with this e-mail before others, and whether
    it has this e-mail.
    """
    sql = _ANY.format(statuses=", ".join("?" * len(LIVE)), plans=", ".join("?" * len(plans)))
    found = storage.row(sql, (key, *LIVE, *plans))
    return None if found is None else (str(found[0]), bool(found[1]))
