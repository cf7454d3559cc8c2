"""How often something that goes on is spoken of: at once, after a minute, and then every ten minutes."""

AGAIN_SECONDS, EACH_SECONDS = 60.0, 600.0


class Pace:
    """How often something was met since it began, and how often since it was last spoken of. It began just now.

    Units   times in seconds, by whatever clock is given
    """

    def __init__(self, now: float) -> None:
        self.since = self.last = self.said_at = now
        self.count, self.unsaid = 1, 0
        self.due_at = now + AGAIN_SECONDS

    def meet(self, now: float) -> None:
        """Note that it was met again."""
        self.count, self.unsaid, self.last = self.count + 1, self.unsaid + 1, now

    def summary(self, now: float) -> tuple[int, float] | None:
        """Return how often it was met since it was last spoken of, and in how many seconds; None before it is due."""
        return self.rest(now) if self.unsaid and now >= self.due_at else None

    def rest(self, now: float) -> tuple[int, float]:
        """Return the same, due or not. It counts as spoken of."""
        found = self.unsaid, now - self.said_at
        self.unsaid, self.said_at, self.due_at = 0, now, now + EACH_SECONDS
        return found

    def is_over(self, now: float) -> bool:
        """Return whether it was not met for ten minutes."""
        return now - self.last >= EACH_SECONDS
