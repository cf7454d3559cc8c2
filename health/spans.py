"""Lengths of time and sizes, for people."""

MINUTE, HOUR, DAY = 60, 3600, 86_400
KILO = 1000


def span(seconds: float) -> str:
    """Return a length of time, roughly: 12 s, 5 min, 3 h, 40 d."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{max(0, seconds):.0f} s"


def size(count: float) -> str:
    """Return a number of bytes, roughly: 12 kB, 3.4 GB."""
    for name in ("bytes", "kB", "MB", "GB"):
        if count < KILO:
            return f"{count:.3g} {name}"
        count /= KILO
    return f"{count:.3g} TB"
