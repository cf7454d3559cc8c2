"""Callbacks: the host's own functions, called in this process with the notices they are registered for."""

import time
from collections.abc import Callable

from .changes import KINDS
from .notice import Notice

EVERY_KIND = "*"
QUIET_SECONDS = 5.0  # a host registers its callbacks one by one at start: no notice may come in between

Callback = Callable[[Notice], object]


class Callbacks:
    """The receiver that calls the host's functions. A notice of a kind without a function counts as delivered."""

    name = "callbacks"

    def __init__(self) -> None:
        self.ready_at = 0.0
        self._hooks: dict[str, list[Callback]] = {kind: [] for kind in (*KINDS, EVERY_KIND)}

    def add(self, kind: str, hook: Callback) -> None:
        """Register a function for the notices of this kind, or of all kinds for "*".

        Errors  ValueError when there is no such kind
        """
        if kind not in self._hooks:
            raise ValueError(f"no notice is called {kind!r}; there are {', '.join(KINDS)}, and '*' for all of them")
        if not callable(hook):
            raise TypeError(f"a callback for {kind!r} is called with a Notice; {type(hook).__name__} is not callable")
        self._hooks[kind].append(hook)
        self.ready_at = time.time() + QUIET_SECONDS

    def notify(self, notice: Notice) -> str:
        """Call each function that is registered for it. When one raises, all of them are called again later."""
        hooks = (*self._hooks.get(notice.kind, ()), *self._hooks[EVERY_KIND])
        for hook in hooks:
            hook(notice)
        return "called" if hooks else "no callback"
