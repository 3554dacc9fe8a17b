"""A real HTTP server that speaks OpenAI's chat protocol and does what a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-of-the-test"


@dataclass
class Response:
    """What to send: a score, or a text, or a raw body; after `wait` seconds."""

    score: Any = None
    text: str | None = None
    body: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    finish: str = "stop"
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 10})

    def raw(self, model: str) -> str:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": self.text or "told to fail", "type": "test"}})
        content = self.text
        if content is None:
            content = json.dumps({"reason": "as the test says", "score": self.score})
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": model}
        return json.dumps(reply | {"choices": [choice], "usage": self.usage})


@dataclass
class Seen:
    """A request as it came."""

    path: str
    authorization: str | None
    body: dict[str, Any]
    at: float

    @property
    def text(self) -> str:
        """The first message."""
        return self.body["messages"][0]["content"]


class ChatServer(ThreadingHTTPServer):
    """`respond(seen, number)` gives the response to the request of that number, from 0."""

    daemon_threads = True

    def __init__(self, respond: Callable[[Seen, int], Response]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = respond
        self.requests: list[Seen] = []
        self.lock = threading.Lock()
        self.open = self.most_open = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        seen = Seen(self.path, self.headers["Authorization"], body, time.monotonic())
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append(seen)
            self.server.open += 1
            self.server.most_open = max(self.server.most_open, self.server.open)
        try:
            response = self.checked(seen) or self.server.respond(seen, number)
            time.sleep(response.wait)
            raw = response.raw(body.get("model", "")).encode()
            headers = {"Content-Type": "application/json"} | response.headers
            self.send_response(response.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client waits no longer
        finally:
            with self.server.lock:
                self.server.open -= 1

    @staticmethod
    def checked(seen: Seen) -> Response | None:
        """What a server of the protocol refuses."""
        if seen.path != "/v1/chat/completions":
            return Response(status=404, text=f"no such path: {seen.path}")
        if seen.authorization != f"Bearer {KEY}":
            return Response(status=401, text=f"Incorrect API key provided: {seen.authorization}")
        messages = seen.body.get("messages")
        if not isinstance(seen.body.get("model"), str) or not messages:
            return Response(status=400, text="model and messages are required")
        if any(set(message) != {"role", "content"} for message in messages):
            return Response(status=400, text="messages have a role and a content")
        return None

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@contextmanager
def serving(respond: Callable[[Seen, int], Response]) -> Iterator[ChatServer]:
    """A server on a free port of this machine, while the block runs."""
    server = ChatServer(respond)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
