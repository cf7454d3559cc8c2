"""The tree of errors.

BillingError                      500 internal_error
├── ConfigError                       stops the start; lists every problem at once
├── RequestRefused                400 bad_request
│   ├── InvalidSignature          400 invalid_signature
│   ├── InvalidBody               400 invalid_body
│   ├── BodyTooLarge              413 body_too_large
│   ├── HeadersTooLarge           431 headers_too_large
│   ├── UnknownPlan               400 unknown_plan
│   ├── InvalidQuantity           400 invalid_quantity
│   ├── UnknownLimit              400 unknown_limit
│   ├── KeyReused                 409 key_reused
│   ├── NeedsPlan                 409 needs_plan
│   ├── AlreadyBought             409 already_bought
│   ├── MaybeSubscribed           409 maybe_subscribed
│   ├── UnknownFlow               400 unknown_flow
│   ├── UnknownSubscription       404 unknown_subscription
│   ├── CrossSite                 403 cross_site
│   ├── MayNotBuy                 403 may_not_buy
│   ├── UntrustedProxy            403 untrusted_proxy
│   ├── ReturnAddressNamed        400 return_address_named
│   ├── NoBillingAccount          409 no_billing_account
│   ├── CheckoutInProgress        409 checkout_in_progress
│   ├── ChangeInProgress          409 change_in_progress
│   ├── CannotChange              409 cannot_change
│   ├── NotSignedIn               401 not_signed_in
│   │   ├── InvalidToken          401 invalid_token
│   │   └── InvalidUserHeader     401 invalid_user_header
│   ├── PaymentRequired           402 payment_required
│   ├── LimitReached              402 limit_reached
│   ├── NotFound                  404 not_found
│   ├── MethodNotAllowed          405 method_not_allowed
│   └── TooManyGuesses            429 too_many_guesses
├── NotConfigured                 503 not_configured
├── DatabaseUnavailable           503 database_unavailable
├── Overtaken                     503 overtaken
├── Outdated                      503 outdated
├── Busy                          503 busy
├── OutOfMemory                   503 out_of_memory
└── StripeError                   502 stripe_error
    ├── StripeUnavailable         503 stripe_unavailable
    │   └── StripeFailed          503 stripe_failed
    ├── StripeRefused             502 stripe_refused
    │   ├── StripeNotSetUp        503 stripe_not_set_up
    │   ├── CardRefused           409 card_refused
    │   ├── AddressNeeded         409 address_needed
    │   ├── CurrencyRefused       409 currency_refused
    │   ├── PriceRefused          409 price_refused
    │   └── CodeRefused           409 code_refused
    └── UnknownCustomer           502 unknown_customer

A class has what a caller may see: an HTTP status, a code for programs and a sentence that is safe to show. The
message of an instance is for the log. It may name ids and causes, and never holds a secret.
"""

from typing import Any, ClassVar

LONGEST_PROBLEM = 1_500  # characters; the longest sentence of ours has some hundreds


class BillingError(Exception):
    """The base of every error that Corkage raises. Itself it stands for a bug: a 500 without an explanation."""

    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    sentence: ClassVar[str] = "Something went wrong on our side. It has been logged."
    retry_after_seconds: ClassVar[int | None] = None

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Return `{"error": {"code", "message"}}`, the response for programs. It is safe to show."""
        return {"error": {"code": self.code, "message": self.sentence}}


class ConfigError(BillingError):
    """The configuration is wrong. `problems` has a sentence for each fault, without the middle of what is very long."""

    code = "config_error"

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(map(shortened, problems))
        super().__init__("\n".join(f"- {problem}" for problem in self.problems))


def shortened(problem: str) -> str:
    """Return the sentence without its middle where it quotes what nobody can read: a file may hold anything."""
    return problem if len(problem) <= LONGEST_PROBLEM else f"{problem[:1_000]} ... {problem[-400:]}"


class RequestRefused(BillingError):
    """The request is not acceptable; sending it again will not help."""

    http_status = 400
    code = "bad_request"
    sentence = "This request cannot be understood."


class InvalidSignature(RequestRefused):
    """The webhook's signature is missing, made with another secret, too old, or from the future."""

    code = "invalid_signature"
    sentence = "The Stripe-Signature header does not match this body and this endpoint's secret, or is too old."


class InvalidBody(RequestRefused):
    """The body is not of the form that this route accepts."""

    code = "invalid_body"
    sentence = "This address does not accept the body of this request."


class BodyTooLarge(RequestRefused):
    """The body is longer than this route accepts."""

    http_status = 413
    code = "body_too_large"
    sentence = "The body of this request is too large."


class HeadersTooLarge(RequestRefused):
    """The request line and the headers are longer than the server accepts."""

    http_status = 431
    code = "headers_too_large"
    sentence = "The headers of this request are too large."


class UnknownPlan(RequestRefused):
    """The request names a plan that is not on sale."""

    code = "unknown_plan"
    sentence = "There is no such plan. Please choose one of those on offer."


class InvalidQuantity(RequestRefused):
    """The request wants more or fewer of a plan than it is sold for."""

    code = "invalid_quantity"
    sentence = "This plan cannot be bought for that number. Please choose another."


class UnknownLimit(RequestRefused):
    """No plan and no pack of plans.toml has a limit of this name that is counted; the message names those there are."""

    code = "unknown_limit"
    sentence = "There is no such limit to count. The log says which there are."


class KeyReused(RequestRefused):
    """The key of a use was given before, for another limit or amount. Nothing was counted."""

    http_status = 409
    code = "key_reused"
    sentence = "This key was used before, for something else."


class NeedsPlan(RequestRefused):
    """The request wants an add-on to plans of which the user has none."""

    http_status = 409
    code = "needs_plan"
    sentence = "This adds to a plan that you do not have. Please choose the plan first."


class AlreadyBought(RequestRefused):
    """The request wants what the user bought for good, or what gives no more than that."""

    http_status = 409
    code = "already_bought"
    sentence = (
        "You have bought this already, or something that includes it. It is yours, and there is nothing more to pay."
    )


class MaybeSubscribed(RequestRefused):
    """The user may pay already, by a customer at Stripe that belongs to no user here. The same request with
    `again=yes` is not asked any more. It does not say that anybody pays: see selling/unlinked.py.

    Shape   fields: what the request wanted, to repeat it
    """

    http_status = 409
    code = "maybe_subscribed"
    sentence = (
        "If you subscribed before, perhaps with another account, please do not pay again: contact us, and we will look "
        "for your subscription. If you did not, go on."
    )

    def __init__(self, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or {}


class UnknownFlow(RequestRefused):
    """The request names a flow of the portal that does not exist."""

    code = "unknown_flow"
    sentence = "There is no such part of the billing portal."


class UnknownSubscription(RequestRefused):
    """The request names a subscription that is not one of the user's own."""

    http_status = 404
    code = "unknown_subscription"
    sentence = "You have no such subscription."


class CrossSite(RequestRefused):
    """A browser sent this from a page that is neither ours nor the product's."""

    http_status = 403
    code = "cross_site"
    sentence = "This request did not come from our own pages, and was refused."


class MayNotBuy(RequestRefused):
    """The user may not buy or manage billing: somebody else does it for them."""

    http_status = 403
    code = "may_not_buy"
    sentence = "Somebody else manages the billing for you. Please ask them."


class UntrustedProxy(RequestRefused):
    """The request has the proxy's user header, and does not come from the proxy's address."""

    http_status = 403
    code = "untrusted_proxy"
    sentence = "This request names a user, but did not come through the sign-in that may name one."


class ReturnAddressNamed(RequestRefused):
    """The body has an address to return to. Only the operator sets it: others could send visitors anywhere."""

    code = "return_address_named"
    sentence = "A request cannot say where visitors return to. They return to the product's own address."


class NoBillingAccount(RequestRefused):
    """The user has no customer at Stripe yet, so there is no portal to open."""

    http_status = 409
    code = "no_billing_account"
    sentence = "There is nothing to manage yet: you have not subscribed to anything."


class CheckoutInProgress(RequestRefused):
    """Another request of the same user is preparing a checkout."""

    http_status = 409
    code = "checkout_in_progress"
    sentence = "Your checkout is being prepared already. Please try again in a moment."
    retry_after_seconds = 2


class ChangeInProgress(RequestRefused):
    """Another change of the same subscription is being made."""

    http_status = 409
    code = "change_in_progress"
    sentence = "Your subscription is being changed already. Please try again in a moment."
    retry_after_seconds = 2


class CannotChange(RequestRefused):
    """The subscription cannot be changed like this in its present state; the log says why."""

    http_status = 409
    code = "cannot_change"
    sentence = "Your subscription cannot be changed like this at the moment."


class NotSignedIn(RequestRefused):
    """The request names no user."""

    http_status = 401
    code = "not_signed_in"
    sentence = "Please sign in first."


class InvalidToken(NotSignedIn):
    """The request's token is forged, expired, or made for another program.

    Shape   cause: why it is refused, of health/tokens.py's; owner: keeps the tokens of users apart, and is not shown
    """

    code = "invalid_token"
    sentence = "Your sign-in is not valid here, or no longer. Please sign in again."

    def __init__(self, message: str, cause: str = "claims", owner: str = "") -> None:
        super().__init__(message)
        self.cause, self.owner = cause, owner


class PaymentRequired(RequestRefused):
    """The user is signed in, and has not paid for this.

    Shape   pricing_url: the address of the plans; access: the Access that falls short, with the reason; is_buyer:
            whether the user who asks may buy what is missing
    """

    http_status = 402
    code = "payment_required"
    sentence = "This is for subscribers, and your plan does not include it."

    def __init__(self, message: str, pricing_url: str, access: Any, is_buyer: bool = True) -> None:
        super().__init__(message)
        self.is_buyer = is_buyer
        self.pricing_url = pricing_url
        self.access = access

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Return `{"error": {"code", "message", "pricing_url", "reason"}}`, the response for programs."""
        more = {"pricing_url": self.pricing_url, "reason": str(self.access.reason)}
        return {"error": {**super().to_dict()["error"], **more}}


class LimitReached(RequestRefused):
    """A use does not fit in what is left of the limit and of packs. Nothing was counted.

    Shape   use: the facts of the Use, with what is left and when it begins anew
    """

    http_status = 402
    code = "limit_reached"
    sentence = "All that your plan includes of this has been used."

    def __init__(self, message: str, use: dict[str, Any]) -> None:
        super().__init__(message)
        self.use = use

    def to_dict(self) -> dict[str, Any]:
        """Return `{"error": {"code", "message"}, "allowed": false, ...}`, with all that a use that fits is answered."""
        return {**super().to_dict(), **self.use}


class InvalidUserHeader(NotSignedIn):
    """The proxy's header does not name one user: it was sent twice, or its value is not a user id."""

    code = "invalid_user_header"
    sentence = "Your sign-in did not reach us in a form that we can use. Please sign in again."


class NotFound(RequestRefused):
    """There is nothing at this address."""

    http_status = 404
    code = "not_found"
    sentence = "There is nothing at this address."


class MethodNotAllowed(RequestRefused):
    """The address exists, and does not accept this method."""

    http_status = 405
    code = "method_not_allowed"
    sentence = "This address does not take this method."


class TooManyGuesses(RequestRefused):
    """Too many wrong operator's tokens were tried."""

    http_status = 429
    code = "too_many_guesses"
    sentence = "That was wrong too often. Please wait a minute before you try again."
    retry_after_seconds = 60


class NotConfigured(BillingError):
    """The route needs a setting that is not set; the log names it."""

    http_status = 503
    code = "not_configured"
    sentence = "This part of billing is not set up yet. The log says which setting is missing."


class DatabaseUnavailable(BillingError):
    """The database refused a read or a write: it is locked, full, or gone. Nothing was half written."""

    http_status = 503
    code = "database_unavailable"
    sentence = "We cannot reach our records at the moment. Please try again shortly."
    retry_after_seconds = 5


class Overtaken(BillingError):
    """Others wrote the same rows first, several times. Their data stands; a retry may succeed."""

    http_status = 503
    code = "overtaken"
    sentence = "This account is changing at the moment. Please try again shortly."
    retry_after_seconds = 1


class Outdated(BillingError):
    """Another process runs with a newer Corkage or another plans.toml. This one writes no answers any more."""

    http_status = 503
    code = "outdated"
    sentence = "We are being updated at the moment. Please try again shortly."
    retry_after_seconds = 5


class Busy(BillingError):
    """As many requests as allowed wait for Stripe already; one more would slow down those that need no Stripe."""

    http_status = 503
    code = "busy"
    sentence = "Many people are paying at the moment. Please try again shortly."
    retry_after_seconds = 2


class OutOfMemory(BillingError):
    """The process has no memory left for the request. It goes on, and others may fit."""

    http_status = 503
    code = "out_of_memory"
    sentence = "We have too much to do at the moment. Please try again shortly."
    retry_after_seconds = 5


class StripeError(BillingError):
    """Stripe's response was an error or not usable."""

    http_status = 502
    code = "stripe_error"
    sentence = "Our payment provider gave an unexpected answer. Nothing was charged by this request."


class StripeUnavailable(StripeError):
    """Stripe did not answer in time, is overloaded, limits our rate, or failed: a retry may succeed."""

    http_status = 503
    code = "stripe_unavailable"
    sentence = "Our payment provider is not answering at the moment. Please try again shortly."
    retry_after_seconds = 5


class StripeFailed(StripeUnavailable):
    """Stripe answered with an error of its own. The same idempotency key would return it again."""

    code = "stripe_failed"


class StripeRefused(StripeError):
    """Stripe does not accept our request. Where no class below fits, the operator must correct something."""

    code = "stripe_refused"
    sentence = "Our payment provider refused this. Nothing was charged by this request, and it has been logged."


class StripeNotSetUp(StripeRefused):
    """Stripe refuses until the operator has done something there; the log says what."""

    http_status = 503
    code = "stripe_not_set_up"
    sentence = "This part of billing is not set up yet. The log says what is missing."


class CardRefused(StripeRefused):
    """The payment was declined."""

    http_status = 409
    code = "card_refused"
    sentence = "The payment was declined. Please update your payment method, and try again."


class AddressNeeded(StripeRefused):
    """Tax cannot be worked out without the customer's address."""

    http_status = 409
    code = "address_needed"
    sentence = "Your address is needed to work out the tax. Please add it to your billing details, and try again."


class CurrencyRefused(StripeRefused):
    """The customer is bound to a currency in which the price is not sold."""

    http_status = 409
    code = "currency_refused"
    sentence = "You pay in another currency, and this plan is not sold in it. Please choose another plan."


class PriceRefused(StripeRefused):
    """The price cannot be sold, as when it or its product is archived."""

    http_status = 409
    code = "price_refused"
    sentence = "This plan cannot be bought any more. Please choose another one."


class CodeRefused(StripeRefused):
    """The promotion code does not apply to this purchase."""

    http_status = 409
    code = "code_refused"
    sentence = "This code cannot be used for this plan."


class UnknownCustomer(StripeError):
    """This Stripe account has no such customer: the key is of another account or mode, or test data was deleted."""

    code = "unknown_customer"


def error_with(code: str) -> type[BillingError]:
    """Return the error class that has this code; BillingError for an unknown code."""
    return _with_code(BillingError).get(code, BillingError)


def _with_code(root: type[BillingError]) -> dict[str, type[BillingError]]:
    found = {root.code: root}
    for each in root.__subclasses__():
        found |= _with_code(each)
    return found
