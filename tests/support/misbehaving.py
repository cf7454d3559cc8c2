"""What misbehaves below HTTP: a receiver of notices, as it is set to, and a line to Stripe on which bytes trickle."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

from standardwebhooks import Webhook

PIECE_SECONDS = 0.05
PIECES = 1000  # of an answer without end: some 50 s
LARGE_PIECE = b"x" * 1_000_000


class Misbehaving:
    """Verifies each notice, and answers in one of its ways; those that it takes are in `taken`, by id.

    Shape   way: the name of one of its methods without "_answer_"; tried: how many requests came, whatever the way;
            sent: bytes of answers without end
    """

    def __init__(self, secret: str) -> None:
        self.way, self.tried, self.sent = "well", 0, 0
        self.elsewhere = ""
        self.taken: dict[str, dict[str, object]] = {}
        self._webhook = Webhook(secret)
        self._may_end = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def run(self, context: ssl.SSLContext | None = None) -> None:
        """Answer until close(); with TLS where a context is given."""
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection, context), daemon=True).start()

    def close(self) -> None:
        self._may_end.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        with contextlib.suppress(OSError), connection:  # whoever asked has gone
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                if not stream.peek(1).startswith(b"P"):
                    return  # who speaks TLS to what has none
                stream.readline()
                headers = {}
                while line := stream.readline().strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers["content-length"]))
                notice = self._webhook.verify(body, headers)
                self.tried += 1
                getattr(self, f"_answer_{self.way}")(connection, headers["webhook-id"], notice)

    def _answer_well(self, connection: socket.socket, message: str, notice: dict[str, object]) -> None:
        self.taken[message] = notice
        connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    def _answer_slow(self, connection: socket.socket, message: str, notice: dict[str, object]) -> None:
        self._may_end.wait(0.2)
        self._answer_well(connection, message, notice)

    def _answer_silent(self, *_: object) -> None:
        self._may_end.wait(60)

    def _answer_trickling(self, connection: socket.socket, *_: object) -> None:
        connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
        for _piece in range(PIECES):
            connection.sendall(b"x")
            self._may_end.wait(PIECE_SECONDS)

    def _answer_promising(self, connection: socket.socket, *_: object) -> None:
        """Say that an answer will come, again and again."""
        for _piece in range(PIECES):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._may_end.wait(PIECE_SECONDS)

    def _answer_cutting(self, connection: socket.socket, *_: object) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # by a reset

    def _answer_half(self, connection: socket.socket, *_: object) -> None:
        connection.sendall(b"HTTP/1.1 20")

    def _answer_gibberish(self, connection: socket.socket, *_: object) -> None:
        connection.sendall(b"\x16\x03\x01\xff\xff" * 20_000)

    def _answer_endless(self, connection: socket.socket, *_: object) -> None:
        """Lead elsewhere, with a body that never ends."""
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {self.elsewhere}\r\n\r\n".encode())
        while not self._may_end.is_set():
            connection.sendall(LARGE_PIECE)
            self.sent += len(LARGE_PIECE)

    def _answer_nowhere(self, connection: socket.socket, *_: object) -> None:
        """Lead to what is no address."""
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n")

    def _answer_away(self, connection: socket.socket, *_: object) -> None:
        """Lead into the private network, in a way that keeps the method and the body."""
        said = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {self.elsewhere}\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(said.encode())

    def _answer_429(self, connection: socket.socket, *_: object) -> None:
        connection.sendall(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")

    def _answer_503(self, connection: socket.socket, *_: object) -> None:
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n")


@contextlib.contextmanager
def misbehaving(secret: str, context: ssl.SSLContext | None = None) -> Iterator[Misbehaving]:
    """Run such a receiver; over https where a context is given."""
    receiver = Misbehaving(secret)
    thread = threading.Thread(target=receiver.run, args=(context,), daemon=True)
    thread.start()
    yield receiver
    receiver.close()
    thread.join()


@contextlib.contextmanager
def trickling_to(port: int) -> Iterator["Relay"]:
    """Run a line to this port, slow only once `is_trickling` is set."""
    relay = Relay(port)
    thread = threading.Thread(target=relay.run, daemon=True)
    thread.start()
    yield relay
    relay.close()
    thread.join()


class Relay:
    """A line to a server, on which what comes back trickles while `is_trickling` is set."""

    def __init__(self, port: int) -> None:
        self.is_trickling = False
        self.trickled = 0
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def run(self) -> None:
        """Pass on until close()."""
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for source, target, back in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._pass, args=(source, target, back), daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _pass(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError), source, target:
            while piece := source.recv(65536):
                while piece and back and self.is_trickling:
                    self.trickled += 1
                    time.sleep(PIECE_SECONDS)
                    target.sendall(piece[:1])
                    piece = piece[1:]
                target.sendall(piece)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)
