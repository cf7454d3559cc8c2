"""Texts made fit for a log line: nothing from outside may begin a line of its own, or be endless."""

import re

LONGEST_VALUE = 500
LONGEST_MESSAGE = 4000

_ADDRESS = re.compile(r"[^\s@\"'<>()\[\],;:=]{1,100}@[^\s@\"'<>()\[\],;:=]{1,255}")


class Cleaned(str):
    """A text without control characters, cut in length. Its repr is that of the text before, cut too."""

    __slots__ = ("_shown",)
    _shown: str

    def __new__(cls, text: str, longest: int = LONGEST_VALUE) -> "Cleaned":
        made = super().__new__(cls, one_line(text, longest))
        made._shown = repr(text if len(text) <= longest else text[:longest] + "...")
        return made

    def __repr__(self) -> str:
        return self._shown


def one_line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return the text in one line: control characters are escaped, and what is longer is cut."""
    cut = text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"
    return cut if cut.isprintable() else "".join(map(visible, cut))


def without_addresses(text: str) -> str:
    """Return the text of an error without e-mail addresses: Stripe and databases quote what they do not take."""
    return _ADDRESS.sub("(an e-mail)", text)


def visible(character: str) -> str:
    """Return a character that can be printed as it is, and any other as an escape."""
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def cleaned_value(value: object) -> object:
    """Return an argument of a log call, fit for a line. Numbers and the like stay as they are."""
    if isinstance(value, BaseException):
        return Cleaned(without_addresses(str(value)))
    return Cleaned(value) if isinstance(value, str) else value
