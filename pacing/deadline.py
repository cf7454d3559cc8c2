"""HTTP connections that give up when the whole answer has not come in time.

The read timeout of requests begins again with every byte: an answer of which a byte comes now and then, or in which
"100 Continue" follows "100 Continue", would be waited for without end.
"""

import http.client
import io
import socket
import time
from typing import Any

from requests.adapters import HTTPAdapter


class _Stream(io.RawIOBase):
    """What a socket receives until the deadline; also each read has the time that the socket allows."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        super().__init__()
        self._socket, self._stream = sock, sock.makefile("rb", buffering=0)
        self._each = sock.gettimeout()
        self._ends_at = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not whole in time")
        self._socket.settimeout(left if self._each is None else min(left, self._each))
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _responses_within(seconds: float) -> type[http.client.HTTPResponse]:
    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *rest: Any, **options: Any) -> None:
            super().__init__(sock, *rest, **options)
            self.fp.close()
            self.fp = io.BufferedReader(_Stream(sock, seconds))

    return Response


class DeadlineAdapter(HTTPAdapter):
    """An adapter of requests: an answer that is not whole after so many seconds counts as a timeout.

    Shape   seconds: from the end of the request to the end of the answer, or as far as it is read; the timeouts of a
            call, to connect and for each read, count beside it
    Errors  requests.ReadTimeout while the head is read, requests.ConnectionError in the body
    """

    def __init__(self, seconds: float, **options: Any) -> None:
        self._response = _responses_within(seconds)
        super().__init__(**options)

    def init_poolmanager(self, *rest: Any, **options: Any) -> None:
        super().init_poolmanager(*rest, **options)
        self._limit(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager: Any = super().proxy_manager_for(proxy, **options)
        if is_new:
            self._limit(manager)
        return manager

    def _limit(self, manager: Any) -> None:
        """Make every connection of this urllib3 manager use our response class."""
        manager.pool_classes_by_scheme = {
            scheme: _derived(pool, ConnectionCls=_derived(pool.ConnectionCls, response_class=self._response))
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }


def _derived(kind: type, **attributes: Any) -> type:
    return type(kind.__name__, (kind,), attributes)
