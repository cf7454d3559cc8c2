"""A port that cannot be had, in words."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click


class CannotListen(click.ClickException):
    """The port cannot be had."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence."""
        click.echo(self.message, file=file, err=True)


@contextmanager
def listening(host: str, port: int) -> Iterator[None]:
    """Raise CannotListen where the port cannot be had."""
    try:
        socket.getaddrinfo(host, port)  # waitress reports an unknown host as a ValueError
        yield
    except OSError as error:
        advice = "; choose another with --port" if error.errno == errno.EADDRINUSE else ""
        raise CannotListen(f"Cannot listen on {host}:{port}: {error.strerror or error}{advice}") from error
