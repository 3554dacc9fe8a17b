"""The judge against a real HTTP server: what it sends, how it fails, what it keeps."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("openai")

from evenflow.errors import UserError
from evenflow.evaluation.diversity.cache import Cache
from evenflow.evaluation.diversity.client import Client, Server
from evenflow.evaluation.diversity.judge import Judge, Judgement, scores_of, shown, summary
from evenflow.evaluation.diversity.reading import Answer, Question
from tests.chat_server import KEY, ChatServer, Response, Seen, serving

ANSWERS = ["by induction", "by contradiction", "by counting " * 200, "Ça marche 🙂", ""]
ONE = [Question("q", "Show that 1 + 1 = 2.", [Answer(text, None, None) for text in ANSWERS])]
TWO = [*ONE, Question("r", "Again.", [Answer(f"way {i}", True, None) for i in range(4)])]


def judge_at(server: ChatServer, **options) -> Judge:
    """A judge with the key of the test; `repeats`, `seed` and `parallel`, the rest is of the
    server."""
    own = {name: options.pop(name) for name in ("repeats", "seed", "parallel") if name in options}
    settings = {"base_url": server.url, "api_key": KEY, "model": "m", "timeout": 30.0} | options
    return Judge(Server(**settings), **own)


def judged(
    respond: Callable[[Seen, int], Response],
    path: Path,
    questions: list[Question] = ONE,
    **options,
) -> tuple[list[Judgement], list[Seen]]:
    with serving(respond) as server:
        judge = judge_at(server, **options)
        return asyncio.run(judge.judgements(questions, Cache(path))), server.requests


def test_what_is_sent(tmp_path):
    """Whole answers under the question, marked; the key in its header; other orders."""
    found, requests = judged(lambda *_: Response(score=4), tmp_path / "c", repeats=3)
    assert [done.score for done in found] == [4, 4, 4]
    assert {request.authorization for request in requests} == {f"Bearer {KEY}"}
    orders = set()
    for request in requests:
        assert request.body["model"] == "m"
        assert request.body["temperature"] == 0.0
        assert [message["role"] for message in request.body["messages"]] == ["user"]
        text = request.text
        assert "Show that 1 + 1 = 2." in text
        shown = re.findall(r"<answer-(\w{8}) \d+>\n(.*?)\n</answer-\1>", text, re.DOTALL)
        assert sorted(answer for _, answer in shown) == sorted(ANSWERS)
        orders.add(tuple(answer for _, answer in shown))
    assert len(orders) == 3


def test_options_of_the_request(tmp_path):
    _, requests = judged(
        lambda *_: Response(score=4), tmp_path / "c", repeats=1, temperature=None, max_tokens=77
    )
    assert "temperature" not in requests[0].body
    assert requests[0].body["max_completion_tokens"] == 77


def test_the_order_depends_on_the_seed_alone(tmp_path):
    """Not on the order in the file, nor on the address of the server."""
    backwards = [Question("q", ONE[0].prompt, ONE[0].answers[::-1])]
    texts = [
        judged(lambda *_: Response(score=1), tmp_path / str(i), questions, repeats=1, seed=seed)[1][
            0
        ].text
        for i, (questions, seed) in enumerate([(ONE, 0), (backwards, 0), (ONE, 1)])
    ]
    assert texts[0] == texts[1] != texts[2]


def test_429_and_its_retry_after(tmp_path):
    """429 twice, to be tried again after 0.3 s, then a score: one judgement, after a while."""

    def respond(_: Seen, number: int) -> Response:
        limited = Response(status=429, headers={"Retry-After": "0.3"})
        return limited if number < 2 else Response(score=2)

    began = time.monotonic()
    found, requests = judged(respond, tmp_path / "c", repeats=1)
    assert [done.score for done in found] == [2]
    assert len(requests) == 3
    assert time.monotonic() - began >= 0.6


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:80:80/v1",
        "http://127.0.0.1:99999/v1",
        "http://[::1/v1",
        "http://a..b/v1",
        "http://ü..x/v1",
        "http:///v1",
        "http://999.1.1.1/v1",  # as the library for HTTP alone refuses it
        "http://h\n/v1",
    ],
)
def test_what_is_no_url_is_said(url):
    with pytest.raises(UserError, match=r"judge\.base_url .* is no URL of a server; write it as"):
        Client(Server(url, KEY, "m"))


def test_500_is_tried_again(tmp_path):
    found, requests = judged(
        lambda _, number: Response(status=503) if number == 0 else Response(score=5),
        tmp_path / "c",
        repeats=1,
    )
    assert [done.score for done in found] == [5]
    assert len(requests) == 2


@pytest.mark.parametrize(
    ("response", "says", "sent"),
    [
        (Response(status=500, text="broken"), "HTTP 500.*broken", 2),
        (Response(status=400, text="maximum context length is 8"), "HTTP 400.*context length", 1),
        (Response(status=403, text="flagged"), "HTTP 403.*flagged", 1),
        (Response(score=3, wait=1.5), "no reply within 0.5 s", 2),
        (Response(body="{not JSON"), "not a reply of the protocol", 1),
        (Response(body="<html>hello</html>", headers={"Content-Type": "text/html"}),
         "not a reply of the protocol", 1),
        (Response(body="{}"), "not a reply of the protocol", 1),
        (Response(body='{"choices": []}'), "not a reply of the protocol", 1),
        (Response(body='{"choices": {"0": 1}}'), "not a reply of the protocol", 1),
        (Response(body='{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'),
         "the reply is empty", 2),
        (Response(text="They differ a lot."), "no score in the reply", 2),
        (Response(score=9), "not on the scale: 9", 2),
        (Response(score="4"), "no score in the reply", 2),
        (Response(text="Score: 3\nor", finish="length"), "no whole JSON .* .cut off at the", 2),
        (Response(text="<think>Two.\nScore: 2\n", finish="length"), "thought does not end .cut", 2),
        (Response(status=400, body='{"detail": "in another form"}'), "HTTP 400.*another form", 1),
        (Response(status=502, body="<html>Bad gateway</html>"), "HTTP 502.*Bad gateway", 2),
        (Response(status=413, body=""), "HTTP 413: no reason given", 1),
        (Response(status=400, body='{"error": "half \\ud83d"}'), "HTTP 400.*half [?]", 1),
        (Response(body='{"error": {"message": "no credit"}}'), "of the protocol: .*no credit", 1),
        (Response(body='{"choices": [{"message": {"content": null, "refusal": "I may not."}}]}'),
         "the model refuses: I may not.", 1),
        (Response(body="plain", headers={"Content-Encoding": "gzip"}), "not a reply of HTTP", 2),
    ],
)  # fmt: skip
def test_failures_are_failures(tmp_path, response, says, sent):
    """Never a number; the reason is kept; nothing goes to the cache."""
    headers = {"Retry-After": "0.05"} | response.headers
    response = Response(**(vars(response) | {"headers": headers}))
    timeout = 0.5 if response.wait else 30.0
    found, requests = judged(
        lambda *_: response, tmp_path / "c", repeats=1, retries=1, timeout=timeout
    )
    assert [done.score for done in found] == [None]
    assert re.search(says, found[0].reason)
    assert len(requests) == sent
    assert not (tmp_path / "c").exists()


def test_half_characters_are_sent_and_kept(tmp_path):
    """Lone surrogates in the question, its name and its answers end in no error."""
    texts = ["a \ud800", "b \udfff"]
    half = [Question("id \ud800", "q \ud800", [Answer(text, True, None) for text in texts])]
    found, requests = judged(lambda *_: Response(score=4), tmp_path / "c", half, repeats=1)
    assert [done.score for done in found] == [4]
    assert "\na ?\n" in requests[0].text
    assert json.loads((tmp_path / "c").read_text())["id"] == "id ?"
    assert judged(lambda *_: Response(score=1), tmp_path / "c", half, repeats=1)[1] == []


def test_a_reply_without_a_score_is_asked_once_more(tmp_path):
    """With the form; the tokens of both replies count."""

    def respond(_: Seen, number: int) -> Response:
        return Response(text="I think four.") if number == 0 else Response(score=4)

    found, requests = judged(respond, tmp_path / "c", repeats=1)
    assert [done.score for done in found] == [4]
    assert (found[0].prompt_tokens, found[0].completion_tokens) == (200, 20)
    roles = [message["role"] for message in requests[1].body["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert requests[1].body["messages"][1]["content"] == "I think four."


def test_a_reply_in_parts_is_read(tmp_path):
    parts = [{"type": "text", "text": "They differ.\n"}, {"type": "text", "text": "Score: 4"}]
    body = json.dumps({"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]})
    found, _ = judged(lambda *_: Response(body=body), tmp_path / "c", repeats=1)
    assert [done.score for done in found] == [4]


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": "many"}, {"prompt_tokens": -1, "completion_tokens": -1}]
)
def test_servers_that_count_no_tokens(tmp_path, usage):
    found, _ = judged(lambda *_: Response(score=4, usage=usage), tmp_path / "c", repeats=1)
    assert (found[0].score, found[0].prompt_tokens) == (4, 0)


def test_a_second_run_asks_nothing(tmp_path):
    """Nor does one at another address; another model, repeat or answer does."""
    cache = tmp_path / "c"
    first, requests = judged(lambda *_: Response(score=4), cache, TWO, repeats=2)
    assert len(requests) == 4
    again, requests = judged(lambda *_: Response(score=1), cache, TWO, repeats=2)
    assert requests == []
    assert all(done.cached for done in again)
    assert [vars(done) | {"cached": False} for done in again] == [vars(done) for done in first]
    found, requests = judged(lambda *_: Response(score=1), cache, TWO, repeats=3)
    assert len(requests) == 2
    assert scores_of(found, 2) == [[4, 4, 1], [4, 4, 1]]
    _, requests = judged(lambda *_: Response(score=1), cache, TWO, repeats=2, model="other")
    assert len(requests) == 4
    other = [Question("q", ONE[0].prompt, [*ONE[0].answers[:-1], Answer("new", None, None)])]
    assert len(judged(lambda *_: Response(score=1), cache, other, repeats=1)[1]) == 1


def test_a_damaged_cache_is_read_as_far_as_it_is_whole(tmp_path):
    cache = tmp_path / "c"
    judged(lambda *_: Response(score=4), cache, TWO, repeats=1)
    lines = cache.read_text().split("\n")
    damaged = lines[1].replace('"score": 4', '"score": "4"')
    cache.write_text(f'[]\nnull\n{{"key": 3}}\n{damaged}\n{lines[0]}\n{lines[1][:30]}')
    found, requests = judged(lambda *_: Response(score=2), cache, TWO, repeats=1)
    assert len(requests) == 1
    assert sorted(done.score or 0 for done in found) == [2, 4]
    assert len(judged(lambda *_: Response(score=1), cache, TWO, repeats=1)[1]) == 0


def test_what_was_judged_is_kept_when_the_rest_is_cancelled(tmp_path):
    """The second request hangs, and the run is stopped: the first judgement is on the disk."""
    cache = Cache(tmp_path / "c")

    async def stopped(judge: Judge) -> None:
        run = asyncio.ensure_future(judge.judgements(TWO, cache))
        while not cache.entries:
            await asyncio.sleep(0.01)
        run.cancel()
        await run

    def respond(_: Seen, number: int) -> Response:
        return Response(score=4, wait=20.0 if number else 0.0)

    with serving(respond) as server:
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(stopped(judge_at(server, repeats=1, parallel=1)))
        assert time.monotonic() - began < 15
    assert len(Cache(tmp_path / "c").entries) == 1


def test_no_more_at_once_than_asked(tmp_path):
    many = [Question(str(i), f"{i}?", ONE[0].answers) for i in range(6)]
    with serving(lambda *_: Response(score=4, wait=0.05)) as server:
        judge = judge_at(server, repeats=1, parallel=2)
        asyncio.run(judge.judgements(many, Cache(tmp_path / "a")))
        assert server.most_open == 2


def test_progress_counts_up(tmp_path):
    seen = []
    with serving(lambda _, n: Response(score=4) if n else Response(status=400)) as server:
        judge = judge_at(server, repeats=2, parallel=1)
        run = judge.judgements(
            TWO, Cache(tmp_path / "c"), lambda n, values: seen.append((n, values))
        )
        asyncio.run(run)
    assert [number for number, _ in seen] == [1, 2, 3, 4]
    assert seen[-1][1] == {"failed": "1", "tokens": "330"}
    assert shown(1, 12_330) == {"failed": "1", "tokens": "12,330"}  # without going through all
    seen.clear()
    with serving(lambda *_: Response(score=4)) as server:  # what failed is asked again
        judge = judge_at(server, repeats=2, parallel=1)
        asyncio.run(
            judge.judgements(TWO, Cache(tmp_path / "c"), lambda n, values: seen.append((n, values)))
        )
    assert seen == [(4, {"failed": "0", "tokens": "110"})]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key": "sk-wrong-key"}, "refuses.*401"),
        ({"path": "/v2"}, "refuses.*no such path"),
        ({"base_url": "http://127.0.0.1:1/v1", "retries": 0}, "no server answers at"),
    ],
)
def test_what_no_request_can_mend_ends_it_at_once(tmp_path, options, says):
    """Without spelling out the key, even if the server does."""
    many = [Question(str(i), f"{i}?", ONE[0].answers) for i in range(40)]
    with serving(lambda *_: Response(score=4)) as server:
        path = options.pop("path", None)
        if path:
            options["base_url"] = server.url.replace("/v1", path)
        judge = judge_at(server, parallel=2, **options)
        with pytest.raises(UserError, match=says) as error:
            asyncio.run(judge.judgements(many, Cache(tmp_path / "c")))
        assert len(server.requests) <= 4
    assert "sk-" not in str(error.value)
    assert "sk-" not in repr(judge)


def test_the_key_is_written_nowhere(tmp_path):
    _, requests = judged(lambda *_: Response(score=4), tmp_path / "c", repeats=1)
    kept = json.loads((tmp_path / "c").read_text())
    assert KEY not in json.dumps(kept)
    assert KEY not in requests[0].text
    assert "127.0.0.1" not in json.dumps(kept)
    secret = Server("https://user:word@host:8000/v1?token=x", KEY, "m")
    assert secret.address == "https://host:8000/v1"
    assert KEY not in repr(secret)


def test_summary_on_paper():
    """q: 2 and 4, one failure; r: 5, 5, 5 from the cache; s: all failed; t: one answer, not judged.

    Mean of 3 and 5. Pairs: 2 apart for q, 0 for r: mean 1, half the same. α: n = 5,
    D_o = (1/5)·(2·4/1) = 1.6; unordered squares of 2, 4, 5, 5, 5: 4 + 3·9 + 3·1 = 34,
    D_e = 68/20 = 3.4.
    """
    questions = [*TWO, Question("s", "", ONE[0].answers), Question("t", "", ONE[0].answers[:1])]
    found = [
        Judgement(0, 0, 2, "", 100, 10),
        Judgement(0, 1, None, "HTTP 500", 0, 0),
        Judgement(0, 2, 4, "", 100, 10),
        *(Judgement(1, repeat, 5, "", 50, 5, cached=True) for repeat in range(3)),
        *(Judgement(2, repeat, None, reason) for repeat, reason in enumerate(["x", "x", "y"])),
    ]
    result = summary(found, questions)
    assert result["value"] == 4.0
    assert (result["low"], result["high"]) == (3.0, 5.0)
    assert result["questions"] == 2
    assert result["distribution"] == {"1": 0, "2": 1, "3": 0, "4": 1, "5": 3}
    assert result["agreement"]["mean_difference"] == 1.0
    assert result["agreement"]["identical"] == 0.5
    assert result["agreement"]["alpha"] == pytest.approx(1 - 1.6 / 3.4)
    assert result["judgements"] == 5
    assert result["failures"]["count"] == 4
    assert result["failures"]["reasons"] == {"x": 2, "HTTP 500": 1, "y": 1}
    assert result["failures"]["which"][0] == {"id": "q", "repeat": 1, "reason": "HTTP 500"}
    assert result["not_judged"] == 1
    assert result["cached"] == 3
    assert result["tokens"]["all"] == {"prompt": 350, "completion": 35}
    assert result["tokens"]["this run"] == {"prompt": 200, "completion": 20}


def test_summary_of_nothing_but_failures():
    result = summary([Judgement(0, 0, None, "x")], ONE)
    assert math.isnan(result["value"])
    assert (result["judgements"], result["failures"]["count"]) == (0, 1)
