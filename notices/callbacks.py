"""Hooks: the host's own functions, called in this process with the changes they asked for."""

import time
from collections.abc import Callable

from .changes import KINDS
from .notice import Notice

EVERY_KIND = "*"
QUIET_SECONDS = 5.0  # a host registers its hooks one by one while it starts: a notice must not come between two

Hook = Callable[[Notice], object]


class Hooks:
    """The receiver that a host is, by its functions. What no function asked for counts as taken."""

    name = "callbacks"

    def __init__(self) -> None:
        self.ready_at = 0.0
        self._hooks: dict[str, list[Hook]] = {kind: [] for kind in (*KINDS, EVERY_KIND)}

    def add(self, kind: str, hook: Hook) -> None:
        """Have the function called with every notice of this kind, or of all kinds for "*".

        Errors  ValueError when there is no such kind
        """
        if kind not in self._hooks:
            raise ValueError(f"no notice is called {kind!r}; there are {', '.join(KINDS)}, and '*' for all of them")
        if not callable(hook):
            raise TypeError(f"a hook for {kind!r} is to be called with a Notice; {type(hook).__name__} cannot be")
        self._hooks[kind].append(hook)
        self.ready_at = time.time() + QUIET_SECONDS

    def tell(self, notice: Notice) -> str:
        """Call each function that asked for it; the first that raises has all of them called again later."""
        hooks = (*self._hooks.get(notice.kind, ()), *self._hooks[EVERY_KIND])
        for hook in hooks:
            hook(notice)
        return "called" if hooks else "no callback"
