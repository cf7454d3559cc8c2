"""The product's colour, adjusted for contrast: as text and as a background, on light and on dark pages."""

LIGHT, DARK = "#ffffff", "#1b1d1b"  # the pages' backgrounds; a test compares them with style.css
TEXT_CONTRAST = 4.6  # WCAG asks for 4.5; the rest is for rounding, and for the slightly darker background around cards
SHAPE_CONTRAST = 2.0
STEPS = 50


def color_rules(color: str) -> str:
    """Return the CSS that sets a colour, "#rrggbb". It has no specificity, so that any rule of a host's wins."""
    light, dark = (f":where(.corkage){{{_variables(color, background)}}}" for background in (LIGHT, DARK))
    return f"{light}\n@media(prefers-color-scheme:dark){{{dark}}}\n"


def _variables(color: str, background: str) -> str:
    shape = _with_contrast(color, background, SHAPE_CONTRAST)
    on_shape = max("#ffffff", "#000000", key=lambda text: contrast(text, shape))
    text = _with_contrast(color, background, TEXT_CONTRAST)
    return f"--accent:{shape};--on-accent:{on_shape};--accent-ink:{text}"


def _with_contrast(color: str, background: str, wanted: float) -> str:
    """Return the colour, mixed with as little black or white as gives it this contrast with the background."""
    end = max("#ffffff", "#000000", key=lambda each: contrast(each, background))
    for step in range(STEPS + 1):
        mixed = _mix(color, end, step / STEPS)
        if contrast(mixed, background) >= wanted:
            return mixed
    return end


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21.

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
