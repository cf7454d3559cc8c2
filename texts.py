"""Texts from outside: which of them a database can store, and which are a user's id.

PostgreSQL has no NUL in a text, and no engine has half of a surrogate pair, which JSON, Python and the command line may
bring. They are refused where they come in; what Stripe says is cleaned.
"""

import hashlib
import re
import unicodedata
from typing import Any, TypeGuard

USER_ID_LENGTH = 200
LONGEST_LOGGED = 500

_NEVER_STORED = re.compile("[\0\ud800-\udfff]")


def is_text(value: object) -> TypeGuard[str]:
    """Return whether the value is a text that a database can store."""
    return isinstance(value, str) and not _NEVER_STORED.search(value)


def storable(text: str) -> str:
    """Return the text with a U+FFFD for each character that no database can store."""
    return _NEVER_STORED.sub("\ufffd", text)


def cut(text: str, most: int = LONGEST_LOGGED) -> str:
    """Return the text as a log may show it: what anybody sends may be long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def check_texts(**named: object) -> None:
    """Raise ValueError for a value that is neither None nor a text that a database can store. Its name is said."""
    for name, value in named.items():
        if value is not None and not is_text(value):
            raise ValueError(f"{name} is a text without NUL and halves of surrogate pairs")


def is_user_id(value: object) -> TypeGuard[str]:
    """Return whether the value is a text of 1 to 200 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= USER_ID_LENGTH and value.isprintable()


def check_user_id(value: Any) -> None:
    """Raise ValueError for what is no user id. Hosts are not always type-checked, and may have numbers."""
    if not is_user_id(value):
        number = f", so write str({value})" if isinstance(value, int) else ""
        raise ValueError(f"a user id is a text of 1 to {USER_ID_LENGTH} printable characters{number}")


def email_key(email: str) -> str:
    """Return what stands for an e-mail in comparisons, whatever its case. Nobody reads the e-mail from it by eye, and
    whoever can guess one can check it.
    """
    folded = unicodedata.normalize("NFC", email.strip(" \t")).casefold()
    return hashlib.sha256(folded.encode()).hexdigest()[:32] if folded else ""
