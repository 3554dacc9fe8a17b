"""The balance family in TRL's trainer: the same numbers as from the objectives themselves."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing import spawn
from transformers import AutoModelForCausalLM
from trl_rollouts import (
    BUILT_IN,
    UNKNOWN,
    N,
    feed,
    rewards,
    rollout,
    take_a_step,
    take_steps_in_one_of,
    trainer,
)

from evenflow.errors import UserError
from evenflow.objectives import PRESETS, Answers, Balance, Scores
from evenflow.objectives.groups import group_sum
from evenflow.plugins.trl import FlowRLTrainer
from evenflow.plugins.trl.config import LOG_Z

FAMILY = [
    name
    for name, row in PRESETS.items()
    if isinstance(row.objective, Balance)
    and row.objective.log_z in LOG_Z
    and not row.objective.guidance
]
G = 4


def possible(name: str, log_z: str) -> bool:
    try:
        Balance(**PRESETS[name].objective.model_dump() | {"log_z": log_z})
    except ValueError:
        return False
    return True


def read(model: Any, batch: dict[str, Tensor], row: int) -> tuple[Tensor, Tensor]:
    """(T,) log-probs of an answer, 0 behind it, and the prompt's states (length, H), unpadded."""
    prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
    answer = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
    ids = torch.cat([prompt, answer])[None]
    hidden = model.base_model(ids, use_cache=False).last_hidden_state[0]
    logits = model.get_output_embeddings()(hidden)[len(prompt) - 1 : -1]
    found = logits.log_softmax(-1).gather(1, answer[:, None])[:, 0]
    width = batch["completion_ids"].shape[1]
    return torch.nn.functional.pad(found, (0, width - len(found))), hidden[: len(prompt)]


def expected(
    learned: FlowRLTrainer, model: Any, batch: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss by the objective's own functions, on the answers of which the reward is known."""
    choices, known = learned.choices, [row for row in range(N) if row != UNKNOWN]
    states = [read(model, batch, row) for row in known]
    logprobs = torch.stack([found for found, _ in states])
    same = batch["completion_ids"][known].tolist()
    groups = torch.arange(N) // G
    old = batch.get("old_per_token_logps")
    answers = Answers(
        mask=batch["completion_mask"][known],
        rewards=rewards()[known, 0],
        groups=groups[known],
        old_logprobs=logprobs.detach() if old is None else old[known],
        ref_logprobs=batch["ref_per_token_logps"][known],
        share=torch.tensor([0.5 if same.count(row) > 1 else 1.0 for row in same]),
    )
    answers = choices.prepare(answers)
    memory = choices.memory(lambda keys: (torch.empty(0), torch.empty(0)))
    if memory is not None:
        answers, _ = memory.fill(answers, [str(row // G) for row in known])
    answers = choices.estimate(answers.old_logprobs, answers)
    log_z = None
    if learned.head is not None:
        head = learned.head.module
        log_z = torch.stack(
            [head(prompt[None], torch.ones(1, len(prompt)))[0] for _, prompt in states]
        )
    return choices.loss(Scores(logprobs, log_z), answers, choices.total(answers))


@pytest.mark.parametrize(
    ("name", "log_z"), [(name, z) for name in FAMILY for z in LOG_Z if possible(name, z)]
)
@pytest.mark.filterwarnings("ignore:log_z. none with scale. mean")
def test_the_loss_and_its_gradient_are_the_objectives_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, log_z: str
) -> None:
    """On and off policy; prompts of several lengths, padded on the left; one unknown reward; a head
    that is not 0."""
    changes = {"log_z": log_z, "duplicates": "once"}
    head = {"dropout": 0.0, "trunk_gradient": True}
    learned = trainer(tmp_path, preset=name, objective=changes, head=head)
    if learned.head is not None:
        torch.nn.init.normal_(learned.head.module.mlp[-1].weight, std=0.1)
    learned.model.train()
    learned.current_gradient_accumulation_steps = 1
    for stale in (False, True):
        batch = rollout(stale=stale)
        feed(monkeypatch, batch)
        learned.memory = learned.choices.memory(lambda keys: (torch.empty(0), torch.empty(0)))
        learned._buffered_inputs = None
        learned.model.zero_grad()
        same_as_expected(learned, batch)


def same_as_expected(learned: FlowRLTrainer, batch: dict[str, Tensor]) -> None:
    ours = AutoModelForCausalLM.from_pretrained(BUILT_IN, dtype=torch.float32)
    value = learned.compute_loss(learned.model, learned._prepare_inputs([{}] * N))
    value.backward()
    got = {name: p.grad for name, p in learned.model.named_parameters()}
    of_head = [] if learned.head is None else list(learned.head.module.parameters())
    got_head = [p.grad.clone() for p in of_head]
    for parameter in of_head:
        parameter.grad = None
    loss, _ = expected(learned, ours, batch)
    loss.backward()
    torch.testing.assert_close(value, loss, rtol=1e-4, atol=1e-5)
    for name, parameter in ours.named_parameters():
        size = parameter.grad.abs().max().item()
        torch.testing.assert_close(got[name], parameter.grad, rtol=1e-3, atol=1e-4 * size + 1e-7)
    for found, parameter in zip(got_head, of_head, strict=True):
        assert parameter.grad.abs().sum() > 0
        torch.testing.assert_close(found, parameter.grad, rtol=1e-3, atol=1e-5)
        parameter.grad = None


OBJECTIVES = {
    "flowrl": {"preset": "flowrl", "head": {"dropout": 0.0}},
    "tba": {"preset": "tba", "objective": {"duplicates": "once", "prior_lift": 0.5}},
    "running": {"preset": "tba", "objective": {"log_z": "running"}},
}


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A step of each objective, in two processes and two steps of accumulation."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (folder / "port").write_text(str(free.getsockname()[1]))
    runs = {name: changes | divided(3, 2) for name, changes in OBJECTIVES.items()}
    spawn(take_steps_in_one_of, (2, folder, runs), 2)
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_in_parts_gives_the_step_of_the_whole(
    tmp_path: Path, of_two_processes: dict[str, dict[str, Any]], name: str
) -> None:
    """In steps of one accumulation; and in two processes, between which a group is split."""
    whole = take_a_step(tmp_path, **OBJECTIVES[name])
    before = AutoModelForCausalLM.from_pretrained(BUILT_IN, dtype=torch.float32).state_dict()
    assert any(not torch.equal(before[key], value) for key, value in whole["weights"].items())
    logged = whole["logged"]
    assert logged["answers/left_out"] == 1
    assert logged["groups/incomplete"] == 1
    for part in (
        take_a_step(tmp_path, **OBJECTIVES[name], **divided(4, 3)),
        of_two_processes[name],
    ):
        for key, value in whole["weights"].items():
            moved = (value - before[key]).abs().max().item()
            torch.testing.assert_close(
                part["weights"][key], value, rtol=0, atol=1e-3 * moved + 1e-7, msg=key
            )
        for metric in ("log_z/used", "log_z/error", "residual/abs", "answers/left_out"):
            assert part["logged"][metric] == pytest.approx(logged[metric], rel=1e-4, abs=1e-5)
        if name == "flowrl":
            norm = pytest.approx(logged["grad_norm/head"], rel=1e-3)
            assert part["logged"]["grad_norm/head"] == norm


def divided(size: int, steps: int) -> dict[str, int]:
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}


def test_a_masked_answer_and_one_of_unknown_reward_move_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in their rows; the others' group is without them."""
    losses = []
    for filler in (3, 7):
        batch = rollout(stale=True)
        batch["completion_mask"][1] = 0
        for row in (1, UNKNOWN):
            batch["completion_ids"][row] = filler
            batch["ref_per_token_logps"][row] = -float(filler)
        feed(monkeypatch, batch)
        learned = trainer(tmp_path, preset="tba")
        learned.model.train()
        learned.current_gradient_accumulation_steps = 1
        losses.append(learned.compute_loss(learned.model, learned._prepare_inputs([{}] * N)))
        assert learned._metrics["train"]["answers/left_out"] == [2.0]
        assert learned._metrics["train"]["groups/incomplete"] == [2.0]
    torch.testing.assert_close(losses[0], losses[1])


def test_tokens_of_tools_are_not_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = rollout(stale=True)
    batch["tool_mask"] = torch.ones_like(batch["completion_mask"])
    batch["tool_mask"][:, 0] = 0
    values = []
    for filler in (-1.0, -9.0):
        batch["ref_per_token_logps"][:, 0] = batch["old_per_token_logps"][:, 0] = filler
        feed(monkeypatch, batch)
        learned = trainer(tmp_path, preset="tba")
        learned.model.train()
        learned.current_gradient_accumulation_steps = 1
        values.append(learned.compute_loss(learned.model, learned._prepare_inputs([{}] * N)))
    torch.testing.assert_close(values[0], values[1])


def test_the_samplers_correction_multiplies_each_answers_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = rollout(stale=True)
    values = []
    for weights in (None, torch.full((N, 1), 0.5)):
        fed = batch if weights is None else batch | {"importance_sampling_ratio": weights}
        feed(monkeypatch, fed)
        learned = trainer(tmp_path, preset="flowrl")
        learned.model.train()
        learned.current_gradient_accumulation_steps = 1
        values.append(learned.compute_loss(learned.model, learned._prepare_inputs([{}] * N)))
    torch.testing.assert_close(values[0] / 2, values[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta": 0.1}, "beta: not a field of this loss"),
        ({"epsilon": 0.3}, "objective.epsilon"),
        ({"loss_type": "cispo"}, "set preset"),
        ({"scale_rewards": "none"}, "objective.reward"),
        ({"top_entropy_quantile": 0.5}, "no such term"),
        ({"preset": "grpo"}, "not of the balance family"),
        ({"preset": "nothing"}, "there is no preset"),
        ({"preset": "subtb"}, "flow is not to be had"),
        ({"objective": {"log_z": "offline", "scale": "sum", "reward": "raw"}}, "not to be had"),
        ({"objective": {"bta": 1}}, "objective.bta"),
        ({"objective": "bta"}, "is no dictionary, nor JSON of one"),
        ({"objective": []}, "is no dictionary, nor JSON of one"),
        ({"head": False}, "is no dictionary, nor JSON of one"),
        ({"head": {"size": 3}}, "head.size: no such field"),
        ({"head": {"trunk_gradient": "false"}}, "head.trunk_gradient: Input should"),
        (
            {"use_vllm": True, "vllm_importance_sampling_mode": "token_mask"},
            "the loss has one weight an answer",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        trainer(tmp_path, **changes)


def test_choices_may_be_json_of_a_command_line(tmp_path: Path) -> None:
    learned = trainer(tmp_path, objective='{"log_z": "group", "inverse_temperature": 3}')
    assert learned.choices.log_z == "group"
    assert learned.choices.inverse_temperature == 3
    assert learned.head is None


def test_the_reference_is_built_where_the_objective_reads_it(tmp_path: Path) -> None:
    assert trainer(tmp_path).ref_model is not None
    without = trainer(tmp_path, objective={"reference_weight": 0.0})
    assert without.ref_model is None
    assert without.args.beta == 0


def test_groups_are_summed_over_the_whole_batch() -> None:
    """The batch above is what the tests say it is."""
    known = ~rewards()[:, 0].isnan()
    assert group_sum(known.float(), torch.arange(N) // G)[::G].tolist() == [4, 3, 4]
