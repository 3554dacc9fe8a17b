"""The time that a request has, against a real HTTP server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

pytest.importorskip("openai")

from evenflow.evaluation.diversity.client import Client, Reply, RequestFailed, Server
from tests.chat_server import KEY, Response, Seen, serving

MESSAGES = [{"role": "user", "content": "?"}]


def asked(
    respond: Callable[[Seen, int], Response], times: int = 1, **options
) -> tuple[list[Reply | BaseException], list[Seen]]:
    """The replies to `times` requests sent at once, or their errors."""

    async def replies(server: Server) -> list[Reply | BaseException]:
        async with Client(server) as client:
            asking = [client.ask(MESSAGES) for _ in range(times)]
            return await asyncio.gather(*asking, return_exceptions=True)

    with serving(respond) as server:
        found = asyncio.run(replies(Server(server.url, KEY, "m", **options)))
        return found, server.requests


def texts(replies: list[Reply | BaseException]) -> list[str]:
    """What was said; an error, if there is one."""
    said = []
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
        said.append(reply.text)
    return said


def test_a_reply_that_drips_is_given_up_and_asked_for_again():
    """A byte every 50 ms: the whole, of about 200, would take ten seconds."""
    began = time.monotonic()
    replies, requests = asked(
        lambda _, number: Response(text="whole", drip=0.0 if number else 0.05), timeout=0.5
    )
    assert texts(replies) == ["whole"]
    assert len(requests) == 2
    assert time.monotonic() - began < 8


def test_a_reply_that_only_drips_is_a_failure():
    """After as many requests as allowed, not one more."""
    replies, requests = asked(lambda *_: Response(text="whole", drip=0.05), timeout=0.3, retries=1)
    with pytest.raises(RequestFailed, match=r"no reply within 0\.3 s"):
        texts(replies)
    assert len(requests) == 2


def test_waiting_for_the_pace_is_no_time_out():
    """Five at once at 120 a minute: the last is sent after 2 s and has 1.5 s to be answered."""
    replies, requests = asked(
        lambda *_: Response(text="in time"), 5, timeout=1.5, retries=0, requests_per_minute=120
    )
    assert texts(replies) == ["in time"] * 5
    assert requests[-1].at - requests[0].at >= 4 * 0.5 - 0.05
