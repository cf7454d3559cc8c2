"""Notes, a tiny product: writing is free, exporting is paid. It embeds Corkage as any Bottle app would."""

from pathlib import Path

import bottle

from corkage import Access, Billing, Config, Identity

PAGE = bottle.SimpleTemplate((Path(__file__).parent / "notes.html").read_text("utf-8"))


def make_app(config: Config, secret: str) -> tuple[bottle.Bottle, Billing]:
    """Make the product's app, with billing mounted at /billing."""
    app = bottle.Bottle()
    notes: dict[str, list[str]] = {}

    def signed_in(environ: dict[str, object]) -> Identity | None:
        name = bottle.BaseRequest(environ).get_cookie("notes_user", secret=secret)
        return Identity(name) if name else None

    billing = Billing(config, authenticate=signed_in)
    app.install(billing)

    @app.get("/export")
    @billing.requires(feature="exports")
    def export(access: Access) -> bottle.HTTPResponse:
        return bottle.HTTPResponse("\n".join(notes.get(access.user_id, [])), Content_Type="text/plain; charset=utf-8")

    @app.get("/")
    def show_notes(access: Access) -> str:
        return str(PAGE.render(access=access, plans=config.plans, notes=notes.get(access.user_id, [])))

    @app.post("/notes")
    def add_note() -> bottle.HTTPResponse:
        user, text = signed_in(bottle.request.environ), bottle.request.forms.getunicode("text", "")
        if user and text.strip():
            notes.setdefault(user.user_id, []).append(text.strip()[:500])
        return _home()

    _add_sign_in(app, secret)
    return app, billing


def _add_sign_in(app: bottle.Bottle, secret: str) -> None:
    @app.post("/sign-in")
    def sign_in() -> bottle.HTTPResponse:
        answer, name = _home(), "".join(bottle.request.forms.getunicode("name", "").split())[:40]
        if name.isprintable() and name:
            answer.set_cookie("notes_user", name, secret=secret, httponly=True, samesite="lax", path="/")
        return answer

    @app.post("/sign-out")
    def sign_out() -> bottle.HTTPResponse:
        answer = _home()
        answer.delete_cookie("notes_user", path="/")
        return answer


def _home() -> bottle.HTTPResponse:
    return bottle.HTTPResponse(status=303, headers={"Location": "/"})
