"""Requests to any server that speaks OpenAI's chat protocol: paced, retried, named if they fail.

OpenAI's own client retries 408, 409, 429, 5xx, lost connections and time-outs with growing pauses,
or after the seconds that the server asks for (`Retry-After`, up to two minutes).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from evenflow.errors import UserError
from evenflow.run.files import writable

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Server:
    """Where and how to ask. The key appears in no message, file or representation."""

    base_url: str | None
    """As in ``http://127.0.0.1:8000/v1``; None: OpenAI's own."""
    api_key: str | None
    model: str
    temperature: float | None = 0.0
    """None: not sent, for models that refuse one."""
    max_tokens: int | None = None
    """None: not sent."""
    timeout: float = 300.0
    """Seconds for a whole reply, once the request is sent."""
    retries: int = 5
    requests_per_minute: float | None = None

    def __repr__(self) -> str:
        return f"Server({self.model} at {self.address})"

    @property
    def address(self) -> str:
        """The base URL without what may be secret in it."""
        if self.base_url is None:
            return "https://api.openai.com/v1"
        parts = urlsplit(self.base_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True)
class Reply:
    """What came back; tokens are 0 where the server counts none."""

    text: str
    cut: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0


class RequestFailed(Exception):
    """This request has no reply; the message says why. Others may have one."""


class Garbled(RequestFailed):
    """A reply came, but not one of the protocol; another one may be."""


class Pace:
    """At most so many requests a minute, evenly spaced, those that are sent again included."""

    def __init__(self, requests_per_minute: float | None) -> None:
        self.gap = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self.next = 0.0

    async def wait(self) -> None:
        if self.gap:
            now = asyncio.get_running_loop().time()
            turn = max(self.next, now)
            self.next = turn + self.gap
            await asyncio.sleep(turn - now)


class Client:
    """An open connection to a server: ``async with Client(server) as client``."""

    def __init__(self, server: Server) -> None:
        try:
            import openai
        except ImportError:
            raise UserError("--judge needs a package: pip install 'evenflow[judge]'") from None
        self.server, self.openai = server, openai
        self.pace = Pace(server.requests_per_minute)
        self.answered = False
        self.client = openai.AsyncOpenAI(
            api_key=server.api_key or "none",  # the client insists on one, local servers do not
            base_url=server.base_url or "https://api.openai.com/v1",
            timeout=server.timeout,
            max_retries=server.retries,
            http_client=_on_time(openai, self.pace, server.timeout),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.client.close()

    async def ask(self, messages: Messages) -> Reply:
        """The reply to a conversation.

        RequestFailed where this request is refused or has no proper reply; UserError where every
        other one would fare the same: the key is refused, there is no such model or no server.
        """
        openai, server = self.openai, self.server
        options: dict[str, Any] = {"model": server.model, "messages": messages}
        if server.temperature is not None:
            options["temperature"] = server.temperature
        if server.max_tokens is not None:
            options["max_completion_tokens"] = server.max_tokens
        try:
            reply = await self.client.chat.completions.create(**options)
        except (openai.AuthenticationError, openai.NotFoundError) as error:
            raise UserError(
                f"the judge {server.model} at {server.address} refuses: {self._said(error)}; "
                "check --judge, --base-url and OPENAI_API_KEY"
            ) from None
        except openai.APITimeoutError:
            raise RequestFailed(f"no reply within {server.timeout:g} s") from None
        except openai.APIConnectionError as error:
            if not self.answered:
                raise UserError(
                    f"no server answers at {server.address} ({self._short(error)}); "
                    "check --base-url"
                ) from None
            raise RequestFailed(f"connection lost: {self._short(error)}") from None
        except openai.APIStatusError as error:
            self.answered = True
            raise RequestFailed(self._said(error)) from None
        except (openai.OpenAIError, ValueError) as error:
            self.answered = True
            raise Garbled(f"not a reply of the protocol: {self._short(error)}") from None
        self.answered = True
        return self._read(reply)

    def _read(self, reply: Any) -> Reply:
        """The text and the tokens, whatever a server may have left out."""
        try:
            choice = reply.choices[0]
            text = choice.message.content
        except (AttributeError, IndexError, TypeError):
            said = getattr(reply, "error", None)  # some gateways say so with status 200
            detail = f": {self._short(said)}" if said else ""
            raise Garbled(f"not a reply of the protocol{detail}") from None
        usage = getattr(reply, "usage", None)
        return Reply(
            writable(text) if isinstance(text, str) else "",
            getattr(choice, "finish_reason", None) == "length",
            _count(getattr(usage, "prompt_tokens", 0)),
            _count(getattr(usage, "completion_tokens", 0)),
        )

    def _said(self, error: Any) -> str:
        """The status and what the server wrote under it, in whatever form."""
        body = error.body
        message = body.get("message") if isinstance(body, dict) else None
        return self._short(f"HTTP {error.status_code}: {message or body or 'no reason given'}")

    def _short(self, error: object) -> str:
        """An error in a line, without the key, should a server repeat it."""
        text = " ".join(writable(str(error)).split())
        if self.server.api_key:
            text = text.replace(self.server.api_key, "***")
        return text if len(text) <= 300 else text[:300] + " …"


def _on_time(openai: Any, pace: Pace, timeout: float) -> Any:
    """What carries openai's requests: each in its turn, and for at most `timeout` seconds from then
    to the last byte of its reply.

    openai's own time-out is for each read: a server that sends a byte now and then would hold a
    place for as long as it likes.
    """

    class OnTime(openai.DefaultAsyncHttpxClient):
        async def send(self, request: Any, **options: Any) -> Any:
            await pace.wait()
            try:
                async with asyncio.timeout(timeout):
                    return await super().send(request, **options)
            except TimeoutError:
                # The error that openai tries again: httpx's, or httpx2's from its version 3 on.
                http = import_module(type(request).__module__)
                raise http.ReadTimeout("the reply is not whole", request=request) from None

    return OnTime()


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0
