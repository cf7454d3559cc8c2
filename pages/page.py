"""A page: a template in the layout, in the visitor's language, with the headers that keep it safe."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import bottle

from ..config import Config, origin_of
from ..errors import BillingError, MaybeSubscribed, PaymentRequired
from ..logs.facts import logger
from . import N_
from .catalogues import read_translations
from .colors import color_rules
from .refusal import BEFORE_YOU_PAY, NEEDS_PLAN, ask_again, describe_refusal
from .words import Words, choose

STRIPE_PAGES = ("https://checkout.stripe.com", "https://billing.stripe.com", "https://invoice.stripe.com")
VARY = "Accept-Language, Cookie, Authorization"
LONGEST_QUERY = 1000
TEMPLATES = Path(__file__).parent / "templates"
STYLE = "style.css"

TITLES = {
    "pricing": N_("Plans"),
    "account": N_("Your plan"),
    "return": N_("Thank you"),
    "leading": N_("One moment"),
    "home": N_("Billing"),
}
ERROR_TITLES = {
    401: N_("You are not signed in"),
    402: NEEDS_PLAN,
    404: N_("Page not found"),
}
OTHER_ERROR = N_("That did not work")

log = logger("corkage.pages")


@dataclass(frozen=True)
class Visit:
    """A request for a page: its language, its query, and how to link from it to our routes.

    Shape   base: precedes a route's name in a link; wanted: the query, each name's first value;
            is_whole: whether it is a page of ours, or a fragment of a host's page
    """

    words: Words
    base: str
    wanted: dict[str, str]
    is_whole: bool = True

    def link(self, route: str, **query: str) -> str:
        """Return the address of a route, with the language that the visitor chose."""
        return self.base + route + self.here(**query)

    def here(self, **query: str) -> str:
        """Return the address of the present page, ours or the host's, with another query."""
        chosen = {"lang": self.wanted["lang"]} if "lang" in self.wanted else {}
        return f"?{urlencode(query | chosen)}" if query or chosen else ""


class Templates:
    """Renders the host's templates or, where it has none of that name, ours.

    Shape   folder: the host's own; its style.css is added to ours, so that it may hold just a rule or two
    """

    def __init__(self, folder: Path | None, color: str) -> None:
        self._lookup = [str(path) for path in (folder, TEMPLATES) if path]
        self._loaded: dict[str, bottle.SimpleTemplate] = {}
        own = folder / STYLE if folder else None
        styles = [color_rules(color), (TEMPLATES / STYLE).read_text("utf-8")]
        self.style = "\n".join([*styles, own.read_text("utf-8")] if own and own.is_file() else styles)
        self.style_version = hashlib.sha256(self.style.encode()).hexdigest()[:12]

    def render(self, name: str, values: dict[str, Any]) -> str:
        """Return a template, filled in. What stands in {{ }} is escaped."""
        if name not in self._loaded:
            self._loaded[name] = bottle.SimpleTemplate(name=f"{name}.html", lookup=self._lookup)
        return str(self._loaded[name].render(values))


class Pages:
    """Renders every page and every fragment."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = Path(config.views) if config.views else None
        self.templates = Templates(self.folder, config.color)
        at_stripe = [*STRIPE_PAGES, *([origin_of(config.stripe_api_base)] if config.stripe_api_base else [])]
        self.stripe_origins = frozenset(at_stripe)
        # a page in the place of one of the host's own may be on another origin than our routes
        at_ours = ["'self'", *([origin_of(config.billing_url)] if config.billing_url else [])]
        self.private_policy = _security_policy(config, at_ours[:1])
        self.headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _security_policy(config, at_ours, at_stripe),
            "Referrer-Policy": "same-origin",
            "Vary": VARY,
        }

    def visit(self, environ: dict[str, Any], base: str | None = None, *, is_whole: bool = True) -> Visit:
        """Return what a page needs of a request.

        Shape   base: where our routes are, for a request to one of the host's own
        """
        query = parse_qs(environ.get("QUERY_STRING", "")[:LONGEST_QUERY])
        wanted = {name: values[0] for name, values in query.items()}
        words = choose(wanted.get("lang"), environ.get("HTTP_ACCEPT_LANGUAGE", ""), self.folder)
        lead = _relative_base(environ) if base is None else base.rstrip("/") + "/"
        return Visit(words, lead, wanted, is_whole)

    def page(
        self, template: str, visit: Visit, values: dict[str, Any], status: int = 200, title: str | None = None
    ) -> bottle.HTTPResponse:
        """Return the response with a template in the layout, which no cache stores."""
        title = title or visit.words.gettext(TITLES[template])
        content = self.content(template, visit, {"title": title, **values})
        body = self.templates.render(
            "layout", self._values(visit) | {"title": title, "view": template, "content": content}
        )
        return bottle.HTTPResponse(body, status, self.headers | {"Cache-Control": "no-store"})

    def private_page(
        self, template: str, visit: Visit, values: dict[str, Any], title: str, status: int = 200
    ) -> bottle.HTTPResponse:
        """Return a page for the operator: its forms post to this server only, and no search engine lists it."""
        page = self.page(template, visit, values, status, title)
        page.set_header("Content-Security-Policy", self.private_policy)
        page.set_header("X-Robots-Tag", "noindex, nofollow")
        return page

    def fragment(self, template: str, visit: Visit, values: dict[str, Any]) -> str:
        """Return a template without the layout, for a page of the host's that links style.css."""
        content = self.content(template, visit, {"title": visit.words.gettext(TITLES[template]), **values})
        return self.templates.render("fragment", self._values(visit) | {"view": template, "content": content})

    def content(self, template: str, visit: Visit, values: dict[str, Any]) -> str:
        return self.templates.render(template, self._values(visit) | values)

    def error(
        self,
        error: BillingError | type[BillingError],
        environ: dict[str, Any],
        sign_in_url: str,
        base: str | None = None,
    ) -> bottle.HTTPResponse:
        """Return the page of an error, as plain text where the host's own template fails.

        Shape   error: an instance or, for GET /refused, its class;
                base: where our routes are, for a request to one of the host's own; None for a request to ours, or
                where that is unknown
        """
        visit = self.visit(environ, base)
        try:
            return self._error(error, visit, sign_in_url, knows_routes=base is not None)
        except Exception:  # a host's template may raise anything
            log.exception("the template of the error page failed")
            headers = self.headers | {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
            return bottle.HTTPResponse(visit.words.gettext(error.sentence), error.http_status, headers)

    def _error(
        self, error: BillingError | type[BillingError], visit: Visit, sign_in_url: str, *, knows_routes: bool
    ) -> bottle.HTTPResponse:
        title = visit.words.gettext(ERROR_TITLES.get(error.http_status, OTHER_ERROR))
        sentence, action = visit.words.gettext(error.sentence), None
        may_buy = getattr(error, "is_buyer", True)
        if isinstance(error, PaymentRequired):
            title, sentence, action = describe_refusal(error.access, error.sentence, self.config.plans, visit.words)
        if error.code == MaybeSubscribed.code:
            title, knows_routes = visit.words.gettext(BEFORE_YOU_PAY), True  # the error is of a route of ours
            action = ask_again(getattr(error, "fields", {}) or visit.wanted, visit.words)
        values = {
            "error": error,
            "sentence": sentence,
            "sign_in_url": sign_in_url,
            "action": action if knows_routes and may_buy else None,
            "may_buy": may_buy,
            "pricing_url": getattr(error, "pricing_url", None) or self.pricing_url(visit),
        }
        return self.page("error", visit, values, error.http_status, title)

    def pricing_url(self, visit: Visit) -> str:
        """Return the address of the plans: the host's own page, or ours."""
        return self.config.pricing_url or visit.link("pricing")

    def style(self, version: str) -> bottle.HTTPResponse:
        """Return the stylesheet. It may be cached for ever when the request names its version."""
        is_pinned = version == self.templates.style_version
        headers = {
            "Content-Type": "text/css; charset=utf-8",
            "Cache-Control": "public, max-age=31536000, immutable" if is_pinned else "public, max-age=300",
        }
        return bottle.HTTPResponse(self.templates.style, 200, headers)

    def _values(self, visit: Visit) -> dict[str, Any]:
        """Return what every template may use."""
        level = 1 if visit.is_whole else 2
        return {
            "_": visit.words.gettext,
            "ngettext": visit.words.ngettext,
            "visit": visit,
            "link": visit.link,
            "h1": f"h{level}",
            "h2": f"h{level + 1}",
            "name": self.config.name,
            "logo_url": self.config.logo_url,
            "product_url": self.config.frontend_url,
            "pricing_url": self.pricing_url(visit),
            "style_url": f"{visit.base}style.css?v={self.templates.style_version}",
        }


def _relative_base(environ: dict[str, Any]) -> str:
    """Return the relative address of the mount point, which holds behind a proxy that adds to the path, too.

    Bottle merges the routes of a mounted Bottle app into the host's, so the mount point is known from the route only.
    """
    path = str(environ.get("PATH_INFO", ""))
    if not path:
        return str(environ.get("SCRIPT_NAME", "")).rpartition("/")[2] + "/"
    rule: str = environ["bottle.route"].rule
    before = rule.partition("<")[0].rpartition("/")[0]
    return "../" * (path.count("/") - before.count("/") - 1)


def _security_policy(config: Config, at_ours: list[str], at_stripe: Iterable[str] = ()) -> str:
    """Return the Content-Security-Policy. Browsers apply form-action to a form's redirects, too."""
    ours, forms = " ".join(at_ours), " ".join([*at_ours, *at_stripe])
    image = f"; img-src {_image_source(config.logo_url)}" if config.logo_url else ""
    return f"default-src 'none'; style-src {ours}{image}; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"


def _image_source(url: str) -> str:
    return "'self'" if url.startswith("/") else origin_of(url)


def problems_of(folder: Path) -> Iterator[str]:
    """Yield the faults of a host's own templates and translations."""
    for path in sorted(folder.glob("*.html")):
        try:
            compile(bottle.SimpleTemplate(path.read_text("utf-8") or " ").code, path.name, "exec")
        except (SyntaxError, UnicodeError, bottle.TemplateError) as error:
            yield f"BILLING_VIEWS: {path} is no SimpleTemplate in UTF-8: {error}"
    with_style = [folder / STYLE] if (folder / STYLE).exists() else []
    for path in with_style:
        try:
            path.read_text("utf-8")
        except (UnicodeError, OSError) as error:
            yield f"BILLING_VIEWS: {path} cannot be read as UTF-8: {error}"
    for path in sorted(folder.glob("*.po")):
        try:
            read_translations(path)
        except (ValueError, OSError) as error:
            yield f"BILLING_VIEWS: {path} is no gettext catalogue: {error}"
