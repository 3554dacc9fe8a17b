"""Servers that are wrong, die, hang, or come back: one sentence each, and no answer twice."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.rollout.vllm.conftest import move, prompts, worst_gap
from tests.rollout.vllm.vllm_server import (
    COMPLETIONS,
    Fault,
    Model,
    Script,
    Seen,
    VllmServer,
    nth,
    serving,
)

from evenflow.config import ArchitectureConfig, LoraConfig
from evenflow.errors import UserError
from evenflow.policy.adapters import new_adapter
from evenflow.policy.policy import Policy
from evenflow.rollout.engine import sample
from evenflow.rollout.sampling import Sampling
from evenflow.rollout.vllm import client
from evenflow.rollout.vllm import server as engine_module
from evenflow.rollout.vllm.server import ServerEngine
from evenflow.tasks.countdown import Countdown
from evenflow.training.pretrain import build_model, word_tokenizer

Make = Callable[..., ServerEngine]
SAMPLING = Sampling(8, stop_ids=(1,))
TRIAL = 2
"""Requests for answers with which a server is tried when it is met."""


def places(engine: ServerEngine, count: int = 12) -> list[int]:
    """Of the groups that come, each checked as the trainer does."""
    return sorted(group.place for group in sample(engine, prompts(count), 2, SAMPLING, seed=1))


def said(act: Callable[[], Any]) -> str:
    """The sentence that it ends with."""
    with pytest.raises(UserError) as error:
        act()
    sentence = str(error.value)
    assert "\n" not in sentence
    assert sentence.startswith("rollout.server: ")
    return sentence


# --- at the start ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("127.0.0.1:8000", "write it as http://127.0.0.1:8000"),
        ("ftp://here", "is no URL"),
        ("http://", "is no URL"),
        ("http://here:port", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://a..b:8000", "'http://a..b:8000' is no URL"),
        (f"http://{'a' * 64}:8000", "is no URL"),
        ("http://exa mple:8000", "is no URL"),
        ("http://here:99999", "from 1 to 65535"),
        ("http://here:0", "from 1 to 65535"),
        ("http://me:secret@here:port", "'http://…@here:port' is no URL"),
        ("http://here:1/ü/v1", "in percent, as http://127.0.0.1:8000/caf%C3%A9"),
        ("http://here:1/a b", "has characters in its path"),
        ("http://me:secret@here:1", "a key belongs into EVENFLOW_SERVER_KEY"),
        ("http://here/v1?key=secret", "a key belongs into EVENFLOW_SERVER_KEY"),
    ],
)
def test_what_is_no_url_is_said(url: str, part: str) -> None:
    sentence = said(lambda: ServerEngine(None, 8, urls=[url]))
    assert part in sentence
    assert "secret" not in sentence


def test_one_server_twice_and_none_are_refused() -> None:
    twice = ["http://here:1", "http://here:1/v1/"]
    assert "names a server twice" in said(lambda: ServerEngine(None, 8, urls=twice))
    assert "names no server" in said(lambda: ServerEngine(None, 8, urls=[]))


def test_a_port_where_nothing_listens_is_named(policy: Policy, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    engine = ServerEngine(None, 8, urls=[url], timeout=5, folder=tmp_path)
    sentence = said(lambda: engine.update(policy, 0))
    assert f"no vLLM server answers at {url} (Connection refused)" in sentence
    said(lambda: engine.update(policy, 0))  # nor at the next try


def of_path(path: str, fault: Fault) -> Script:
    return nth(path, 0, fault, onwards=True)


@pytest.mark.parametrize(
    ("model", "script", "part"),
    [
        ({}, of_path("/v1/models", Fault(body="<html>")), "is no vLLM server"),
        ({}, of_path("/v1/models", Fault(body="{}")), "is no vLLM server"),
        ({}, of_path("/v1/models", Fault(status=404)), "is no vLLM server"),
        ({}, of_path("/version", Fault(status=404)), "is no vLLM server"),
        ({"dev": False}, None, "VLLM_SERVER_DEV_MODE=1"),
        ({"key": "sk-x"}, None, "EVENFLOW_SERVER_KEY"),
        ({"raw_logprobs": True}, None, "--logprobs-mode processed_logprobs"),
        ({}, of_path("/collective_rpc", Fault(status=500)), "under the same path"),
        ({}, of_path("/collective_rpc", Fault(close=True)), "it closed the connection"),
    ],
)
def test_a_server_that_cannot_serve_is_refused(
    model: dict[str, Any],
    script: Script | None,
    part: str,
    tiny_model: Path,
    policy: Policy,
    engine_of: Make,
) -> None:
    with serving(Model(str(tiny_model), **model), script=script) as servers:
        engine = engine_of(servers)
        sentence = said(lambda: engine.update(policy, 0))
        assert part in sentence
        assert servers[0].url in sentence


def test_a_server_of_another_architecture_is_refused_before_its_weights_are_touched(
    tmp_path: Path, policy: Policy, engine_of: Make
) -> None:
    wider = ArchitectureConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    tokenizer = word_tokenizer(Countdown.vocabulary, 64)
    build_model(wider, tokenizer).save_pretrained(tmp_path / "other")
    with serving(tmp_path / "other") as servers:
        engine = engine_of(servers, folder=tmp_path / "weights")
        sentence = said(lambda: engine.update(policy, 0))
        assert "another model" in sentence
        assert "hidden_size is 32, that of model.path is 16" in sentence
        assert not servers[0].asked("/collective_rpc")


def test_a_server_that_does_not_compute_as_the_policy_does_is_refused(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    move(policy, 1.0)
    with serving(Model(str(tiny_model), deaf=True)) as servers:
        engine = engine_of(servers)
        sentence = said(lambda: engine.update(policy, 0))
        assert "serves another model than the policy" in sentence
        assert "nats a token" in sentence


def test_a_server_without_runtime_lora_is_told_its_flags(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    adapted = Policy(new_adapter(policy.model, LoraConfig(rank=4)))
    with serving(Model(str(tiny_model), lora=False)) as servers:
        engine = engine_of(servers)
        sentence = said(lambda: engine.update(adapted, 0))
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in sentence
        assert "--max-lora-rank 8" in sentence


# --- in the middle -----------------------------------------------------------------------------


def dies_at(number: int) -> Script:
    def script(server: VllmServer, seen: Seen) -> Fault | None:
        if seen.path != COMPLETIONS or seen.number < TRIAL + number:
            return None
        threading.Thread(target=server.die).start()
        server.ended.wait(5)
        return Fault(close=True)

    return script


def test_the_questions_of_a_server_that_dies_are_asked_of_another_and_no_answer_counts_twice(
    tiny_model: Path, policy: Policy, engine_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tiny_model, tiny_model, script=dies_at(2)) as servers:
        engine = engine_of(servers, 8)
        engine.update(policy, 0)
        with caplog.at_level(logging.WARNING, "evenflow"):
            assert places(engine) == list(range(12))  # `sample` refuses a place that comes twice
            assert places(engine) == list(range(12))
        told = [message for message in caplog.messages if servers[0].url in message]
        assert len(told) == 1
        assert "is left out until it is well again" in told[0]


def test_answers_do_not_depend_on_which_server_gave_them(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    def answers(engine: ServerEngine) -> list[Any]:
        groups = sample(engine, prompts(8), 3, SAMPLING, seed=1)
        return [g.answers for g in sorted(groups, key=lambda group: group.place)]

    with serving(tiny_model) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        alone = answers(engine)
    with serving(tiny_model, tiny_model, script=dies_at(1)) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        assert answers(engine) == alone


def test_where_no_server_is_left_the_sentence_says_what_is_lost_and_how_to_go_on(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model, script=dies_at(2)) as servers:
        engine = engine_of(servers, 4)
        engine.update(policy, 0)
        sentence = said(lambda: places(engine))
    for part in (servers[0].url, "what was saved is whole", "evenflow train --resume RUN"):
        assert part in sentence


def test_a_brief_failure_is_tried_again_and_not_told(
    tiny_model: Path, policy: Policy, engine_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def brief(server: VllmServer, seen: Seen) -> Fault | None:
        if seen.path == COMPLETIONS and seen.number == TRIAL:
            return Fault(status=503)
        if seen.path == COMPLETIONS and seen.number == TRIAL + 1:
            return Fault(close=True)
        return None

    with serving(tiny_model, script=brief) as servers:
        engine = engine_of(servers, 2)
        engine.update(policy, 0)
        assert places(engine, 3) == [0, 1, 2]
        assert len(servers[0].questions) == 5
    assert not caplog.messages


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_a_status_that_passes_is_asked_again_and_one_that_stays_is_left_to_others(
    status: int,
    tiny_model: Path,
    policy: Policy,
    engine_of: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PAUSES", (0.01, 0.01))
    once = nth(COMPLETIONS, TRIAL, Fault(status=status))
    with serving(tiny_model, script=once) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        assert places(engine, 3) == [0, 1, 2]
        assert not caplog.messages
    stays = nth(COMPLETIONS, TRIAL, Fault(status=status), onwards=True)
    with serving(tiny_model, tiny_model, script=stays) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        assert places(engine, 4) == [0, 1, 2, 3]
        assert f"HTTP {status}" in engine.replicas[0].why
        assert not engine.replicas[1].why


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(drip=0.1)])
def test_a_server_that_hangs_or_drips_is_given_up_when_time_is_up(
    fault: Fault, tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model, tiny_model, script=nth(COMPLETIONS, TRIAL, fault)) as servers:
        engine = engine_of(servers, timeout=20.0)
        engine.update(policy, 0)
        engine.timeout = 2.5
        began = time.monotonic()
        assert places(engine, 4) == [0, 1, 2, 3]
        assert time.monotonic() - began < 15
        assert "no answer" in engine.replicas[0].why


def test_a_server_that_hangs_at_an_update_is_left_out_and_a_lone_one_ends_the_run(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    hangs = nth("/collective_rpc", 1, Fault(hang=True), onwards=True)
    for others in (1, 0):
        with serving(tiny_model, *[tiny_model] * others, script=hangs) as servers:
            engine = engine_of(servers)
            engine.update(policy, 0)
            engine.timeout, began = 2.5, time.monotonic()
            if others:
                engine.update(policy, 1)
                assert places(engine, 3) == [0, 1, 2]
                assert not servers[0].questions
            else:
                assert "no server is left" in said(lambda: engine.update(policy, 1))  # noqa: B023
            assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda said: [], "completions that are not vLLM's"),
        (lambda said: said | {"choices": None}, "completions that are not vLLM's"),
        (lambda said: said | {"choices": said["choices"][:1]}, "1 answers where 2 were asked for"),
        (lambda said: spoiled(said, token_ids=None), "no token ids"),
        (lambda said: spoiled(said, token_ids=["a"]), "no token ids"),
        (lambda said: spoiled(said, logprobs=None), "no log-probs"),
        (lambda said: spoiled(said, logprobs={"token_logprobs": [None]}), "no log-probs"),
        (lambda said: spoiled(said, token_ids=[2] * 9), "9 token ids and"),
        (lambda said: spoiled(said, token_ids=[]), "0 token ids and"),
        (lambda said: spoiled(said, prompt_token_ids=[4]), "answers to another prompt"),
    ],
)
def test_what_is_not_what_was_asked_for_ends_in_a_sentence(
    change: Any, part: str, tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model, script=nth(COMPLETIONS, TRIAL, Fault(change=change))) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        sentence = said(lambda: places(engine, 1))
        assert part in sentence
        assert servers[0].url in sentence


def spoiled(reply: Any, **changes: Any) -> Any:
    return reply | {"choices": [choice | changes for choice in reply["choices"]]}


def test_text_that_is_no_json_ends_in_a_sentence(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    script = nth(COMPLETIONS, TRIAL, Fault(body="<html>oh</html>"))
    with serving(tiny_model, script=script) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        assert "answered '<html>oh</html>', not JSON" in said(lambda: places(engine, 1))


# --- other weights than it was given -----------------------------------------------------------


def restarts_at(number: int) -> Script:
    """A supervisor starts it again, so quickly that no request notices."""

    def script(server: VllmServer, seen: Seen) -> None:
        if seen.path == COMPLETIONS and seen.number == TRIAL + number:
            server.net, server.label = server.start(), "default"
            server.serves.adapters.clear()

    return script


@pytest.mark.parametrize("lora", [False, True])
def test_answers_of_a_server_that_was_restarted_do_not_count(
    lora: bool, tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    policy = Policy(new_adapter(policy.model, LoraConfig(rank=4))) if lora else policy
    move(policy)
    with serving(Model(str(tiny_model)), tiny_model, script=restarts_at(1)) as servers:
        engine = engine_of(servers, 4)
        engine.update(policy, 0)
        groups = list(sample(engine, prompts(12), 2, SAMPLING, seed=1))
        assert worst_gap(policy, groups) < 1e-4
        assert "restarted" in engine.replicas[0].why
        engine.update(policy, 0)  # the same version: it is given what it missed
        assert not engine.replicas[0].why
        before = len(servers[0].questions)
        groups = list(sample(engine, prompts(12), 2, SAMPLING, seed=1))
        assert worst_gap(policy, groups) < 1e-4
        assert len(servers[0].questions) > before


def test_a_server_that_someone_else_gives_weights_is_not_asked_on(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model) as servers:
        engine, other = engine_of(servers), engine_of(servers)
        engine.update(policy, 0)
        other.update(policy, 0)
        assert "given other weights by someone else" in said(lambda: places(engine, 1))


def test_a_dead_server_that_comes_back_is_used_again_from_the_next_update_on(
    tiny_model: Path, policy: Policy, engine_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tiny_model, tiny_model) as servers:
        engine = engine_of(servers, 4)
        engine.update(policy, 0)
        servers[0].die()
        assert places(engine) == list(range(12))
        again = VllmServer(Model(str(tiny_model)), port=servers[0].port)
        servers.append(again)  # ended with the others
        assert places(engine) == list(range(12))
        assert not again.seen
        move(policy)
        engine.update(policy, 1)
        assert "is back, and has the newest weights" in caplog.messages[-1]
        groups = list(sample(engine, prompts(12), 2, SAMPLING, seed=1))
        assert again.questions
        assert worst_gap(policy, groups) < 1e-4


def test_a_server_that_comes_back_with_another_model_stays_out(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model, tiny_model) as servers:
        engine = engine_of(servers, 4)
        engine.update(policy, 0)
        servers[0].die()
        assert places(engine) == list(range(12))
        servers.append(VllmServer(Model(str(tiny_model), deaf=True), port=servers[0].port))
        move(policy, 1.0)
        engine.update(policy, 1)
        assert "serves another model" in engine.replicas[0].why
        assert places(engine) == list(range(12))
        assert not servers[2].questions


def test_one_that_stays_away_costs_an_update_no_more_than_a_knock(
    tiny_model: Path, policy: Policy, engine_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "KNOCK", 0.3)
    hangs = nth("/collective_rpc", 1, Fault(hang=True))
    silent = nth("/health", 0, Fault(hang=True), onwards=True)

    def script(server: VllmServer, seen: Seen) -> Fault | None:
        return hangs(server, seen) or silent(server, seen)

    with serving(tiny_model, tiny_model, script=script) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        engine.timeout = 2.5
        engine.update(policy, 1)  # it hangs
        engine.timeout, began = 60.0, time.monotonic()
        engine.update(policy, 2)
        assert time.monotonic() - began < 15
        assert len(servers[0].asked("/collective_rpc")) == 2


# --- stopping ----------------------------------------------------------------------------------


def test_when_nobody_waits_any_more_requests_are_dropped_and_threads_end(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    def stopped(_: VllmServer, seen: Seen) -> Fault | None:
        return Fault(hang=True) if seen.number >= TRIAL + 1 and seen.path == COMPLETIONS else None

    with serving(tiny_model, script=stopped) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        answers = engine.groups(prompts(4), 2, SAMPLING, seed=1)
        next(iter(answers))
        began = time.monotonic()
        answers.close()  # type: ignore[attr-defined]
        for thread in threading.enumerate():
            if thread.name.startswith("request "):
                thread.join(5)
                assert not thread.is_alive()
        assert time.monotonic() - began < 10


def test_an_interrupt_in_the_middle_drops_what_is_under_way(
    tiny_model: Path, policy: Policy, engine_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tiny_model, script=nth(COMPLETIONS, TRIAL, Fault(hang=True))) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            list(engine.groups(prompts(1), 2, SAMPLING, seed=1))
        timer.join()
