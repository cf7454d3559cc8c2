"""The views: ours, and a host's own of the same names, which win."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bottle

from .colors import color_rules

VIEWS = Path(__file__).parent / "templates"
STYLE = "style.css"


class Templates:
    """Renders the views of a folder or, where it lacks one, ours.

    Shape   folder: a host's own; its style.css is added to ours, so that a rule or two will do
    """

    def __init__(self, folder: Path | None, color: str) -> None:
        self._lookup = [str(path) for path in (folder, VIEWS) if path]
        self._loaded: dict[str, bottle.SimpleTemplate] = {}
        own = folder / STYLE if folder else None
        styles = [color_rules(color), (VIEWS / STYLE).read_text("utf-8")]
        self.style = "\n".join([*styles, own.read_text("utf-8")] if own and own.is_file() else styles)
        self.style_version = hashlib.sha256(self.style.encode()).hexdigest()[:12]

    def render(self, name: str, values: dict[str, Any]) -> str:
        """Fill in a view. What it writes with {{ }} is escaped."""
        if name not in self._loaded:
            self._loaded[name] = bottle.SimpleTemplate(name=f"{name}.html", lookup=self._lookup)
        return str(self._loaded[name].render(values))


def problems_of(folder: Path) -> Iterator[str]:
    """Tell what is wrong with a host's own views and catalogues, before a visitor finds out."""
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
        from .words import read_catalogue  # only now: Babel is not needed otherwise before a page is

        try:
            read_catalogue(path)
        except (ValueError, OSError) as error:
            yield f"BILLING_VIEWS: {path} is no gettext catalogue: {error}"
