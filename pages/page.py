"""A page: a view in the layout, in the visitor's language, with the headers that keep it safe."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import bottle

from ..config import Config, origin_of
from ..errors import BillingError
from .rendering import Templates
from .words import N_, Words, choose

STRIPE_PAGES = ("https://checkout.stripe.com", "https://billing.stripe.com", "https://invoice.stripe.com")
VARY = "Accept-Language, Cookie, Authorization"
LONGEST_QUERY = 1000

TITLES = {
    "pricing": N_("Plans"),
    "account": N_("Your plan"),
    "return": N_("Thank you"),
    "leading": N_("One moment"),
}
ERROR_TITLES = {
    401: N_("You are not signed in"),
    402: N_("This needs a plan"),
    404: N_("Page not found"),
}
OTHER_ERROR = N_("That did not work")

log = logging.getLogger("corkage.pages")


@dataclass(frozen=True)
class Visit:
    """Who looks, in which language, and from where our other routes are reached.

    Shape   base: what goes before a route's name in a link; wanted: the query, each name's first value;
            is_whole: a page of ours, and not a fragment in one of the host's
    """

    words: Words
    base: str
    wanted: dict[str, str]
    is_whole: bool = True

    def link(self, route: str, **query: str) -> str:
        """Write the address of a route, in the language that the visitor chose."""
        return self.base + route + self.here(**query)

    def here(self, **query: str) -> str:
        """Write the address of the page at hand with another query, whosever page it is."""
        chosen = {"lang": self.wanted["lang"]} if "lang" in self.wanted else {}
        return f"?{urlencode(query | chosen)}" if query or chosen else ""


class Pages:
    """Makes every page and every fragment of one product."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = Path(config.views) if config.views else None
        self.templates = Templates(self.folder, config.color)
        at_stripe = [*STRIPE_PAGES, *([origin_of(config.stripe_api_base)] if config.stripe_api_base else [])]
        self.stripe_origins = frozenset(at_stripe)
        self.private_policy = _security_policy(config, [])
        self.headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _security_policy(config, at_stripe),
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Vary": VARY,
        }

    def visit(self, environ: dict[str, Any], base: str | None = None, *, is_whole: bool = True) -> Visit:
        """Read from a request what a page needs to know.

        Shape   base: where our routes are, for a request to one of the host's own
        """
        query = parse_qs(environ.get("QUERY_STRING", "")[:LONGEST_QUERY])
        wanted = {name: values[0] for name, values in query.items()}
        words = choose(wanted.get("lang"), environ.get("HTTP_ACCEPT_LANGUAGE", ""), self.folder)
        lead = _relative_base(environ) if base is None else base.rstrip("/") + "/"
        return Visit(words, lead, wanted, is_whole)

    def page(
        self, view: str, visit: Visit, values: dict[str, Any], status: int = 200, title: str | None = None
    ) -> bottle.HTTPResponse:
        """Answer with a view in the layout; kept by nobody."""
        title = title or visit.words.gettext(TITLES[view])
        content = self.content(view, visit, {"title": title, **values})
        body = self.templates.render("layout", self._values(visit) | {"title": title, "view": view, "content": content})
        return bottle.HTTPResponse(body, status, self.headers | {"Cache-Control": "no-store"})

    def private_page(
        self, view: str, visit: Visit, values: dict[str, Any], title: str, status: int = 200
    ) -> bottle.HTTPResponse:
        """Answer with a page for the operator alone: its forms lead nowhere but here, and no search engine lists it."""
        page = self.page(view, visit, values, status, title)
        page.set_header("Content-Security-Policy", self.private_policy)
        page.set_header("X-Robots-Tag", "noindex, nofollow")
        return page

    def fragment(self, view: str, visit: Visit, values: dict[str, Any]) -> str:
        """Make a view without the layout, for a page of the host's that links style.css."""
        content = self.content(view, visit, {"title": visit.words.gettext(TITLES[view]), **values})
        return self.templates.render("fragment", self._values(visit) | {"view": view, "content": content})

    def content(self, view: str, visit: Visit, values: dict[str, Any]) -> str:
        return self.templates.render(view, self._values(visit) | values)

    def error(
        self, error: BillingError, environ: dict[str, Any], sign_in_url: str, base: str | None = None
    ) -> bottle.HTTPResponse:
        """Answer with the page of an error; a host's own view that fails itself must not hide the error.

        Shape   base: where our routes are, for a request to one of the host's own
        """
        visit = self.visit(environ, base)
        title = visit.words.gettext(ERROR_TITLES.get(error.http_status, OTHER_ERROR))
        values = {"error": error, "sentence": visit.words.gettext(error.sentence), "sign_in_url": sign_in_url}
        try:
            return self.page("error", visit, values, error.http_status, title)
        except Exception:  # a host's view may raise anything
            log.exception("the view of errors failed")
            headers = self.headers | {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
            return bottle.HTTPResponse(values["sentence"], error.http_status, headers)

    def style(self, version: str) -> bottle.HTTPResponse:
        """Answer with the stylesheet; for ever, when it is asked for by its version."""
        is_pinned = version == self.templates.style_version
        headers = {
            "Content-Type": "text/css; charset=utf-8",
            "Cache-Control": "public, max-age=31536000, immutable" if is_pinned else "public, max-age=300",
            "X-Content-Type-Options": "nosniff",
        }
        return bottle.HTTPResponse(self.templates.style, 200, headers)

    def _values(self, visit: Visit) -> dict[str, Any]:
        """What every view may use."""
        level = 1 if visit.is_whole else 2
        return {
            "_": visit.words.gettext,
            "ngettext": visit.words.ngettext,
            "visit": visit,
            "link": visit.link,
            "h1": f"h{level}",
            "h2": f"h{level + 1}",
            "name": self.config.product_name,
            "logo_url": self.config.logo_url,
            "product_url": self.config.frontend_url,
            "style_url": f"{visit.base}style.css?v={self.templates.style_version}",
        }


def _relative_base(environ: dict[str, Any]) -> str:
    """Lead from the request's path to the mount point, whatever a proxy has put before it.

    Bottle merges a Bottle app that it mounts into the host's: then only the route tells what of the path is before us.
    """
    path = str(environ.get("PATH_INFO", ""))
    if not path:
        return str(environ.get("SCRIPT_NAME", "")).rpartition("/")[2] + "/"
    rule: str = environ["bottle.route"].rule
    before = rule.partition("<")[0].rpartition("/")[0]
    return "../" * (path.count("/") - before.count("/") - 1)


def _security_policy(config: Config, at_stripe: list[str]) -> str:
    """Write what a page may load and where its forms may lead. Browsers hold a form's redirects to it as well."""
    forms = " ".join(["'self'", *at_stripe])
    image = f"; img-src {_image_source(config.logo_url)}" if config.logo_url else ""
    return f"default-src 'none'; style-src 'self'{image}; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"


def _image_source(url: str) -> str:
    return "'self'" if url.startswith("/") else origin_of(url)
