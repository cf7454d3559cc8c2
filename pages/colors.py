"""The product's one colour, made readable: on light and on dark, as a ground for text and as text."""

LIGHT, DARK = "#ffffff", "#1b1d1b"  # what the views' own colours stand on; held to style.css by a test
TEXT_CONTRAST = 4.6  # WCAG asks 4.5; the rest is for rounding, and the slightly darker ground around the cards
SHAPE_CONTRAST = 2.0
STEPS = 50


def color_rules(color: str) -> str:
    """Write the CSS that sets a brand's colour, "#rrggbb". Of no weight, so that any rule of a host's wins."""
    light, dark = (f":where(.corkage){{{_tokens(color, ground)}}}" for ground in (LIGHT, DARK))
    return f"{light}\n@media(prefers-color-scheme:dark){{{dark}}}\n"


def _tokens(color: str, ground: str) -> str:
    shape = _until(color, ground, SHAPE_CONTRAST)
    on_shape = max("#ffffff", "#000000", key=lambda text: contrast(text, shape))
    text = _until(color, ground, TEXT_CONTRAST)
    return f"--accent:{shape};--on-accent:{on_shape};--accent-ink:{text}"


def _until(color: str, ground: str, wanted: float) -> str:
    """Move a colour away from the ground, towards black or white, no further than the contrast wants."""
    end = max("#ffffff", "#000000", key=lambda each: contrast(each, ground))
    for step in range(STEPS + 1):
        mixed = _mix(color, end, step / STEPS)
        if contrast(mixed, ground) >= wanted:
            return mixed
    return end


def contrast(one: str, other: str) -> float:
    """Tell the contrast ratio of two colours, 1 to 21.

    Source  w3.org/TR/WCAG22/#dfn-contrast-ratio
    """
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _channels(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def _mix(color: str, end: str, share: float) -> str:
    mixed = (round(a + (b - a) * share) for a, b in zip(_channels(color), _channels(end), strict=True))
    return "#" + bytes(mixed).hex()


def _luminance(color: str) -> float:
    linear = [_linear(channel / 255) for channel in _channels(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _linear(share: float) -> float:
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)
