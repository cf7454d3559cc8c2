"""A visitor at our pages in Chromium, who measures what is to be seen and has axe look at it."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness import ADMIN_TOKEN

INSTALL_AXE = "install axe-core with `npm install axe-core` and name its axe.min.js in AXE_CORE"


def read_axe() -> str | None:
    """Return the script of axe, where it is installed."""
    path = Path(os.environ.get("AXE_CORE") or "node_modules/axe-core/axe.min.js")
    return path.read_text("utf-8") if path.is_file() else None


CUT = """
(() => {
  const cut = document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : [];
  for (const each of document.querySelectorAll("body *")) {
    const box = each.getBoundingClientRect();
    const inline = getComputedStyle(each).display === "inline";
    if (each.textContent.trim() && (box.left < 0 || box.right > innerWidth + .5 ||
        (!inline && each.scrollWidth > each.clientWidth + 1)))
      cut.push(each.outerHTML.slice(0, 200));
  }
  return cut;
})()
"""
RUN_AXE = """
axe.run(document, {resultTypes: ["violations"]}).then(found => JSON.stringify(found.violations.map(
  each => [each.id, each.help, each.nodes.map(node => node.html + " " + node.failureSummary)])))
"""


class Looker:
    """Looks at pages as any user, measures them, and has axe look at them in a world of its own."""

    def __init__(self, page: Any, url: str, axe: str | None) -> None:
        self.page, self.url, self.axe = page, url, axe
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.cdp = page.context.new_cdp_session(page)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))

    def sign_in(self, user: str) -> None:
        self.page.context.clear_cookies()
        if user != "nobody":
            self.page.context.add_cookies([{"name": "user", "value": quote(user, safe=""), "url": self.url}])

    def sign_in_as_operator(self, path: str = "") -> None:
        self.page.context.clear_cookies()
        self.open(f"admin{path}", with_axe=False)
        self.page.get_by_label("Operator token").fill(ADMIN_TOKEN)
        self.page.keyboard.press("Enter")
        self.page.get_by_role("button", name="Sign out").wait_for()

    def open(self, path: str, *, with_axe: bool = True) -> Any:
        self.requests.clear()
        self.complaints.clear()
        answer = self.page.goto(f"{self.url}/billing/{path}")
        self.begin(with_axe=with_axe)
        return answer

    def begin(self, *, with_axe: bool = True) -> None:
        """Get ready to measure the page that is open now."""
        frame = self.cdp.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
        made = self.cdp.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "tests"})
        self.world = made["executionContextId"]
        self.has_axe = bool(self.axe) and with_axe
        if self.has_axe:
            self.evaluate(self.axe)

    def evaluate(self, expression: str | None) -> Any:
        asked = {"expression": expression, "contextId": self.world, "awaitPromise": True, "returnByValue": True}
        answered = self.cdp.send("Runtime.evaluate", asked)
        assert "exceptionDetails" not in answered, answered["exceptionDetails"]
        return answered["result"].get("value")

    def look(self, width: int, scheme: str, shot: str) -> None:
        """Assert that all of the page is there to be seen, and that axe finds nothing."""
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.emulate_media(color_scheme=scheme)
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{shot}-{width}-{scheme}.png", full_page=True)
        assert self.evaluate(CUT) == []
        if self.has_axe:
            assert json.loads(self.evaluate(RUN_AXE)) == []
