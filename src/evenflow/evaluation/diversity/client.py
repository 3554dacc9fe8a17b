"""Requests to any server that speaks OpenAI's chat protocol, and what is said of those that fail.

OpenAI's own client sends them: it tries 408, 409, 429, 5xx, lost connections and time-outs again,
with growing pauses or after the seconds that the server asks for (`Retry-After`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from evenflow.errors import UserError
from evenflow.inputs import no_server, server_url
from evenflow.installation import how_to_install
from evenflow.rewards.compose import content_text
from evenflow.run.files import writable

Messages = list[dict[str, str]]
NAMED = "judge.base_url (or OPENAI_BASE_URL)", "http://127.0.0.1:8000/v1"
"""The field of the base URL, and what a right one looks like."""


@dataclass(frozen=True)
class Server:
    """Where and how to ask. The key appears in no message, file or representation."""

    base_url: str | None = field(repr=False)
    """As in ``http://127.0.0.1:8000/v1``; None: OpenAI's own."""
    api_key: str | None = field(repr=False)
    model: str
    temperature: float | None = 0.0
    """None: not sent, for models that refuse one."""
    max_tokens: int | None = None
    """None: not sent."""
    timeout: float = 300.0
    """Seconds without a sign of the server."""
    retries: int = 5

    def __post_init__(self) -> None:
        if self.base_url is not None:
            server_url(self.base_url, *NAMED)

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


class Client:
    """An open connection to a server; `close` it."""

    def __init__(self, server: Server) -> None:
        try:
            import openai
        except ImportError:
            raise UserError(f"judge.model needs a package: {how_to_install('judge')}") from None
        self.server, self.openai = server, openai
        base_url = server.base_url or "https://api.openai.com/v1"
        try:
            self.client = openai.AsyncOpenAI(
                api_key=server.api_key or "none",  # the client insists on one, local servers do not
                base_url=base_url,
                timeout=server.timeout,
                max_retries=server.retries,
            )
        except Exception as error:  # of the library for HTTP below, which is stricter than ours
            raise no_server(base_url, *NAMED) from error

    async def close(self) -> None:
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
                "check judge.model, judge.base_url and OPENAI_API_KEY"
            ) from None
        except openai.APITimeoutError:
            raise RequestFailed(f"no reply within {server.timeout:g} s") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            if type(cause).__name__ == "DecodingError":  # httpx's or httpx2's, by the release
                raise RequestFailed(f"not a reply of HTTP: {self._short(cause)}") from None
            raise UserError(
                f"no server answers at {server.address} ({self._short(error)}); check "
                "judge.base_url; the same command goes on where this one ended"
            ) from None
        except openai.APIStatusError as error:
            raise RequestFailed(self._said(error)) from None
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            raise RequestFailed(f"not a reply of the protocol: {self._short(error)}") from None
        return self._read(reply)

    def _read(self, reply: Any) -> Reply:
        """The text and the tokens, whatever a server may have left out."""
        try:
            choice = reply.choices[0]
            text = content_text(choice.message.content)
            refusal = getattr(choice.message, "refusal", None)
        except (AttributeError, LookupError, TypeError):
            said = getattr(reply, "error", None)  # some gateways say so with status 200
            detail = f": {self._short(said)}" if said else ""
            raise RequestFailed(f"not a reply of the protocol{detail}") from None
        if refusal and not text:
            raise RequestFailed(f"the model refuses: {self._short(refusal)}")
        usage = getattr(reply, "usage", None)
        tokens = [getattr(usage, f"{kind}_tokens", 0) for kind in ("prompt", "completion")]
        return Reply(
            writable(text),
            getattr(choice, "finish_reason", None) == "length",
            *(max(0, count) if isinstance(count, int) else 0 for count in tokens),
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
