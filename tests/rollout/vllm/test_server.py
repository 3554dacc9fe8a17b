"""Answers sampled by servers: whose they are, how they are asked for, what is exchanged."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from tests.rollout.vllm.conftest import move, prompts, worst_gap
from tests.rollout.vllm.vllm_server import Fault, Model, Seen, VllmServer, serving

from evenflow.config import LoraConfig
from evenflow.policy.adapters import new_adapter
from evenflow.policy.policy import Policy
from evenflow.rollout.engine import sample
from evenflow.rollout.sampling import Sampling
from evenflow.rollout.vllm.server import ServerEngine

Make = Callable[..., ServerEngine]
SAMPLING = Sampling(8, stop_ids=(1,))


def test_answers_are_of_the_policy_before_and_after_an_update(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model) as servers:
        engine = engine_of(servers)
        for version in (0, 3):
            engine.update(policy, version)
            groups = list(sample(engine, prompts(5), 4, SAMPLING, seed=1))
            assert worst_gap(policy, groups) < 1e-4
            assert {group.version for group in groups} == {version}
            assert {len(group) for group in groups} == {4}
            move(policy)
        assert worst_gap(policy, groups) > 0.1  # the check sees other weights


def test_an_answer_is_whole_where_it_ends_with_a_stop(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        groups = list(engine.groups(prompts(8), 8, SAMPLING, seed=1))
    rows = [row for group in groups for row in zip(group.answers, group.finished, strict=True)]
    assert {whole for _, whole in rows} == {True, False}
    assert all((ids[-1] == 1) == whole for ids, whole in rows)
    assert all(len(ids) == 8 for ids, whole in rows if not whole)


def test_the_same_seed_gives_the_same_answers_and_each_prompt_may_have_its_own(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model, tiny_model) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)

        def answers(questions: int, seed: int | list[int]) -> list[list[list[int]]]:
            found = engine.groups(prompts(questions), 3, SAMPLING, seed=seed)
            return [group.answers for group in sorted(found, key=lambda group: group.place)]

        assert answers(4, 1) == answers(4, 1) != answers(4, 2)
        assert answers(4, [5, 6, 7, 8])[:2] == answers(2, [5, 6])


def test_greedy_decoding_asks_for_one_answer_and_repeats_it(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        (group,) = engine.groups(prompts(1), 3, Sampling(8, 0.0, stop_ids=(1,)), seed=1)
        assert [seen.body["n"] for seen in servers[0].questions] == [1]
    assert len(group) == 3
    assert group.answers[0] == group.answers[1] == group.answers[2]


def test_questions_are_spread_over_the_servers_and_max_batch_bounds_what_is_under_way(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model, tiny_model) as servers:
        engine = engine_of(servers, 8)
        engine.update(policy, 0)
        places = Counter(g.place for g in engine.groups(prompts(12), 2, SAMPLING, seed=1))
        counts = [len(server.questions) for server in servers]
        assert sum(server.most_answering for server in servers) <= 8
    assert places == dict.fromkeys(range(12), 1)
    assert sum(counts) == 12
    assert min(counts) >= 3


def test_a_group_larger_than_max_batch_is_asked_for_in_parts_with_seeds_that_go_on(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model) as servers:
        engine = engine_of(servers, 4)
        engine.update(policy, 0)
        (group,) = engine.groups(prompts(1), 10, SAMPLING, seed=1)
        asked = [(seen.body["n"], seen.body["seed"]) for seen in servers[0].questions]
    assert len(group) == 10
    first = asked[0][1]
    assert asked == [(4, first), (4, first + 4), (2, first + 8)]


def test_everything_that_a_generation_config_could_change_is_said(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        list(engine.groups(prompts(1), 2, SAMPLING, seed=1))
        body = servers[0].questions[0].body
    assert body["ignore_eos"] is True
    for name in ("temperature", "top_p", "repetition_penalty"):
        assert body[name] == 1.0
    for name in ("top_k", "min_p", "presence_penalty", "frequency_penalty", "logprobs"):
        assert body[name] == 0


def test_weights_travel_once_for_each_version_and_none_are_left(
    tiny_model: Path, policy: Policy, engine_of: Make, tmp_path: Path
) -> None:
    with serving(tiny_model, tiny_model) as servers:
        engine = engine_of(servers)
        for version in (0, 0, 1, 1):
            engine.update(policy, version)
        for server in servers:
            assert len(server.asked("/collective_rpc")) == 2
        assert len(list(tmp_path.iterdir())) == 1  # the newest
        other = Policy(policy.model)  # as the reference comes: the same version, another policy
        engine.update(other, 1)
        assert len(servers[0].asked("/collective_rpc")) == 3
        del engine
        gc.collect()
    assert not list(tmp_path.iterdir())


def test_the_weights_have_the_head_of_tied_embeddings_under_its_own_name(
    tiny_model: Path, policy: Policy, engine_of: Make, tmp_path: Path
) -> None:
    with serving(tiny_model) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        (folder,) = tmp_path.iterdir()
        names = {}
        for path in folder.glob("*.safetensors"):
            with safe_open(path, framework="pt") as file:
                names[path.name] = set(file.keys())
    assert names["lm_head.safetensors"] == {"lm_head.weight"}
    assert not names["lm_head.safetensors"] & names["model.safetensors"]
    assert not list(folder.glob("*.index.json"))  # it would name all files that count


def test_an_adapter_travels_alone_and_the_reference_is_the_servers_own_model(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    adapted = Policy(new_adapter(policy.model, LoraConfig(rank=4)))
    with serving(tiny_model) as servers:
        engine = engine_of(servers)
        engine.update(adapted, 0)
        move(adapted)
        engine.update(adapted, 1)
        groups = list(engine.groups(prompts(3), 2, SAMPLING, seed=1))
        assert worst_gap(adapted, groups) < 1e-4
        assert len(servers[0].serves.adapters) == 1  # the one before is gone
        with adapted.as_reference() as model:
            reference = Policy(model)
            engine.update(reference, -1)
            groups = list(engine.groups(prompts(3), 2, SAMPLING, seed=1))
            assert worst_gap(reference, groups) < 1e-4
        assert worst_gap(adapted, groups) > 0.1
        engine.update(adapted, 1)
        assert len(servers[0].serves.adapters) == 1
        assert not servers[0].asked("/collective_rpc")
        assert servers[0].label == "default"


def test_limits_are_those_of_the_server_with_the_least_room(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model, Model(str(tiny_model), max_model_len=40)) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        limits = engine.limits(prompts(1))
        assert (limits.positions, limits.vocabulary, limits.exact) == (40, 21, False)
        assert servers[1].url in limits.remark


@pytest.mark.parametrize("name", ["EVENFLOW_SERVER_KEY", "OPENAI_API_KEY"])
def test_a_key_from_the_environment_is_sent_with_every_request(
    name: str, tiny_model: Path, policy: Policy, engine_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "sk-of-the-test")
    with serving(Model(str(tiny_model), key="sk-of-the-test")) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        list(engine.groups(prompts(1), 2, SAMPLING, seed=1))
        assert {seen.authorization for seen in servers[0].seen} == {"Bearer sk-of-the-test"}


def test_a_prefix_cache_that_is_in_use_is_asked_again(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    def busy(server: VllmServer, seen: Seen) -> Fault | None:
        if seen.path == "/reset_prefix_cache" and seen.number < 2:
            return Fault(change=lambda _: {"success": False})
        return None

    with serving(tiny_model, script=busy) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        assert len(servers[0].asked("/reset_prefix_cache")) == 3


def test_a_question_that_is_never_asked_costs_nothing(
    tiny_model: Path, policy: Policy, engine_of: Make
) -> None:
    with serving(tiny_model) as servers:
        engine = engine_of(servers)
        engine.update(policy, 0)
        assert list(engine.groups([], 4, SAMPLING, seed=1)) == []
        assert not servers[0].questions
