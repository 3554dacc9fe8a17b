"""Requests over HTTP: several at once, each within its time, and all dropped when nobody waits."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from socket import SHUT_RDWR, socket
from typing import Any, Generic, Self, TypeVar

from evenflow.errors import UserError
from evenflow.inputs import server_url
from evenflow.run.files import writable

FIELD = "rollout.server"
KEYS = ("EVENFLOW_SERVER_KEY", "OPENAI_API_KEY")
"""Where a key is looked for, in this order."""
BRIEF = (408, 425, 429, 502, 503, 504)
"""Statuses of a server, or of a gateway before it, that may be well again in a moment."""
PAUSES = (0.25, 0.5, 1.0, 2.0)
"""Seconds before a request is sent again."""
GRACE = 0.2
"""Seconds that a task may be late."""
T = TypeVar("T")


class Lost(Exception):
    """The server cannot be reached, or gave no whole answer in time; the message says why."""


class Refused(Exception):
    """The server answered with a status that says no."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}: {said}")
        self.status = status


@dataclass(frozen=True)
class Address:
    """Where a server listens. The key appears in no message or representation."""

    url: str
    """As it is named in sentences."""
    host: str
    port: int
    secure: bool
    prefix: str
    """Before every path, for a server behind a gateway; mostly empty."""
    key: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, url: str, key: str | None = None) -> Self:
        """An address as a person writes it, with or without ``/v1``; UserError for what is none."""
        parts = server_url(url.strip(), FIELD, "http://127.0.0.1:8000")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UserError(
                f"{FIELD}: write no more than http://host:port; a key belongs into {KEYS[0]}"
            )
        secure = parts.scheme == "https"
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        if not (prefix.isascii() and prefix.isprintable() and " " not in prefix):
            raise UserError(
                f"{FIELD}: {url!r} has characters in its path that a request cannot have; write "
                "them in percent, as http://127.0.0.1:8000/caf%C3%A9"
            )
        shown = f"{parts.scheme}://{parts.netloc}{prefix}"
        return cls(
            shown, parts.hostname or "", parts.port or (443 if secure else 80), secure, prefix, key
        )


def read_key() -> str | None:
    """The key from the environment, if there is one."""
    for name in KEYS:
        if key := os.environ.get(name, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise UserError(f"{name}: has characters that no key has")
            return key
    return None


class Connection:
    """One connection to a server, for one task after the other; made when it is first needed."""

    def __init__(self, address: Address, until: float) -> None:
        """`until`: when time is up, on the monotonic clock."""
        self.address, self.until = address, until
        self.dropped = threading.Event()
        self._open: http.client.HTTPConnection | None = None
        self._socket: socket | None = None
        """Our own hold on it: `_open` lets go of it while an answer that closes is still read."""

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def ask(
        self, method: str, path: str, body: Any = None, *, repeat: bool = True, text: bool = False
    ) -> Any:
        """The JSON that the server answers with; `text`: whatever it answers with, unread.

        A connection that breaks, and a server that is out of order for the moment, are tried again
        after a pause if `repeat` says so. Raises Lost, or Refused.
        """
        raw = None if body is None else json.dumps(body).encode()
        for pause in (*PAUSES, None) if repeat else (None,):
            try:
                status, content = self._exchange(method, path, raw)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if pause is None or self.left < pause or self.dropped.wait(pause):
                    raise Lost(self._reason(error)) from None
                continue
            if status in BRIEF and pause is not None and self.left > pause:
                if self.dropped.wait(pause):
                    raise Lost("dropped")
                continue
            said = content.decode("utf-8", "replace")
            if status >= 400:
                raise Refused(status, self._short(_message(said)))
            if text:
                return said
            try:
                return json.loads(said)
            except ValueError:
                raise Refused(status, f"{path} answered {self._short(said)!r}, not JSON") from None
        raise AssertionError("the last try returns or raises")

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        if self.left <= 0 or self.dropped.is_set():
            raise TimeoutError
        if self._open is None:
            where = self.address
            if where.secure:
                self._open = http.client.HTTPSConnection(
                    where.host, where.port, context=ssl.create_default_context()
                )
            else:
                self._open = http.client.HTTPConnection(where.host, where.port)
        if self._open.sock is None:
            self._open.timeout = self.left
            self._open.connect()
            self._socket = self._open.sock
            if self.dropped.is_set():  # while it connected, when there was nothing to end
                raise TimeoutError
        else:
            self._open.sock.settimeout(self.left)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.address.key is not None:
            headers["Authorization"] = f"Bearer {self.address.key}"
        self._open.request(method, self.address.prefix + path, body, headers)
        answer = self._open.getresponse()
        return answer.status, answer.read()

    def drop(self) -> None:
        """From another thread: end what is under way, now."""
        self.dropped.set()
        if (held := self._socket) is not None:
            with suppress(OSError):  # closed a moment ago
                held.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close it; the next request opens a new one."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) or self.left <= 0:
            return "no answer in time"
        if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
            return "it closed the connection"
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return self._short(text or type(error).__name__)

    def _short(self, text: str) -> str:
        """In a line, without the key, should a server repeat it."""
        text = " ".join(writable(text).split())
        if self.address.key:
            text = text.replace(self.address.key, "***")
        return text if len(text) <= 300 else text[:300] + " …"


def _message(said: str) -> str:
    """What an error's body says, in whatever form."""
    try:
        body = json.loads(said)
    except ValueError:
        return said or "no reason given"
    if isinstance(body, dict):
        error = body.get("error", body.get("message", body.get("detail")))
        error = error.get("message") if isinstance(error, dict) else error
        if isinstance(error, str) and error:
            return error
    return said


class Calls(Generic[T]):
    """Tasks under way, each in a thread of its own with a connection of its own.

    ``send`` one, and ``next`` gives the next that ended. To be used in a ``with``: what is still
    under way at its end is dropped, whatever ended it. A task that takes longer than `timeout`
    seconds counts as Lost; the clock is here, so that a server that sends a byte a minute, or a
    name that is looked up for ever, gets no longer.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.under_way: dict[int, tuple[T, Connection]] = {}
        self._ended: SimpleQueue[tuple[int, Any, Exception | None]] = SimpleQueue()
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for call in self.under_way.values():
            call[1].drop()

    def __len__(self) -> int:
        return len(self.under_way)

    def send(self, what: T, address: Address, task: Callable[[Connection], Any]) -> None:
        """Begin a task; `what` it is comes back with its result."""
        connection = Connection(address, time.monotonic() + self.timeout)
        self._number += 1
        number = self._number
        self.under_way[number] = (what, connection)

        def work() -> None:
            result, failure = None, None
            try:
                result = task(connection)
            except Exception as error:  # raised where `next` is called
                failure = error
            finally:
                connection.close()
            self._ended.put((number, result, failure))

        # A daemon: a thread that hangs in the system must not keep the process.
        threading.Thread(target=work, name=f"request {number}", daemon=True).start()

    def next(self) -> tuple[T, Any, Exception | None]:
        """The next task that ended, with its result or what it raised."""
        while True:
            until = min(connection.until for _, connection in self.under_way.values())
            try:
                # A moment more: its own thread knows better why.
                patience = max(until - time.monotonic(), 0) + GRACE
                number, result, failure = self._ended.get(timeout=patience)
            except Empty:
                for number, (what, connection) in self.under_way.items():
                    if connection.left <= 0:
                        connection.drop()
                        del self.under_way[number]
                        return what, None, Lost(f"no answer within {self.timeout:g} s")
                continue
            if number in self.under_way:  # not given up before
                return self.under_way.pop(number)[0], result, failure
