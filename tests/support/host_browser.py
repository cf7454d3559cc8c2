"""A visitor of a host that Corkage is mounted in."""

from typing import Any

import requests
from harness import until


class Browser:
    """A visitor of the host, who knows it by its public name, as behind a reverse proxy."""

    def __init__(self, url: str) -> None:
        self.url, self.session = url, requests.Session()
        self.session.headers.update({"Host": "notes.example", "Accept": "text/html", "Sec-Fetch-Site": "same-origin"})

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.session.get(self.url + path, headers=headers, allow_redirects=False, timeout=30)

    def post(self, path: str, fields: Any, **options: Any) -> requests.Response:
        return self.session.post(self.url + path, fields, allow_redirects=False, timeout=30, **options)

    def sign_in(self, name: str) -> None:
        fields = {"name": name}
        answer = self.post("/sign-in", fields)
        answer = self.post("/sign-in", None, json=fields) if answer.status_code == 422 else answer
        assert answer.ok, answer.text

    def led_to(self, path: str, **fields: Any) -> str:
        answer = self.post(path, fields)
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def may_export(self) -> int:
        answer = self.get("/export", Accept="application/json")
        assert (answer.status_code == 200) is ("ann's notes" in answer.text)
        return answer.status_code

    def is_told(self, reason: str) -> None:
        """Wait until access is as this reason says."""
        until(lambda: self.get("/billing/access").json()["reason"] == reason)
