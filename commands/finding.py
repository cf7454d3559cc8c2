"""Which user a command is about: by id, by e-mail, or by an id of Stripe's."""

import click

from ..users.find import MOST, find_users


def found(text: str) -> str:
    """Return the id of the user whom the text names.

    Errors  click.ClickException, exit status 1, when there is none, or there are several
    """
    users = find_users(text)
    if not users:
        raise click.ClickException(f"no such user: {text}")
    return _the_one(text, users)


def found_or_new(text: str) -> str:
    """Return the same; the text itself, as the id of a new user, when there is none.

    Errors  click.ClickException when there are several
    """
    users = find_users(text)
    return _the_one(text, users) if users else text


def _the_one(text: str, users: list[tuple[str, str | None]]) -> str:
    if len(users) > 1:
        more = ["  and maybe more"] if len(users) == MOST else []
        lines = [f"several users have {text}; name one by its id:", *(f"  {id_}" for id_, _ in users), *more]
        raise click.ClickException("\n".join(lines))
    return users[0][0]
