"""One worker of verl's in this process: loss and gradient are plain Transformers'."""

from __future__ import annotations

import pytest
import torch
import verl_worker as given

from evenflow.objectives import PRESETS, Balance
from evenflow.objectives.summary import divergence_metrics
from evenflow.plugins import HEAD
from evenflow.plugins.choices import Head
from evenflow.plugins.verl.settings import LOG_Z

GROUP = Balance(log_z="group")
FAMILY = {
    name: row.objective
    for name, row in PRESETS.items()
    if isinstance(row.objective, Balance)
    and row.objective.log_z in LOG_Z
    and not row.objective.guidance
}
ALL = {
    **{name: objective for name, objective in FAMILY.items() if not objective.needs.head},
    "group": GROUP,
    "leave-one-out": Balance(log_z="leave-one-out", scale="sum", reward="raw"),
    "none": Balance(log_z="none", scale="constant", scale_length=6.0, reward="centred"),
    "gentle": Balance(log_z="group", regression="linex", importance="geometric"),
    "token": Balance(log_z="group", importance="token", truncation="upper", cap=1.1),
    "lifted": Balance(log_z="group", prior_lift=0.5, duplicates="once"),
    "weighed": Balance(log_z="group", question_weight="inverse", rarity=0.5),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    given.begin_group()
    yield given.save_model(tmp_path_factory.mktemp("model"))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("name", ALL)
def test_loss_and_gradient_are_those_of_plain_transformers(path, name, packed) -> None:
    objective = ALL[name]
    rollout = given.sample(path, padding=4, spread=0.4)
    loss, norm, _ = given.plain(path, rollout, objective)
    said = given.learn(given.worker(path, objective, packed=packed), rollout.data(objective))
    assert said["loss"][0] == pytest.approx(loss, rel=1e-4)
    assert said["grad_norm"][0] == pytest.approx(norm, rel=1e-4)


HEADS = [
    Head(),
    Head(layers=2, pooling="last", trunk_gradient=True),
    Head(pooling="max", drop_last_token=True),
]


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("head", HEADS, ids=["mean", "last", "max"])
def test_with_a_head_its_gradient_is_the_same_too(path, head, packed) -> None:
    objective = Balance()
    rollout = given.sample(path, padding=4, spread=0.4)
    learner = given.worker(path, objective, head, packed=packed)
    module = given.set_head(learner, head)
    loss, norm, of_head = given.plain(path, rollout, objective, module)
    said = given.learn(learner, rollout.data(objective))
    assert said["loss"][0] == pytest.approx(loss, rel=1e-4)
    assert said["grad_norm"][0] == pytest.approx(norm, rel=1e-4)
    assert said["grad_norm/head"][0] == pytest.approx(of_head, rel=1e-4)
    assert of_head > 0


def test_a_head_begins_by_the_seed_of_the_run(path) -> None:
    """verl seeds its workers for `full_determinism` alone: two seeds would share one head."""

    def begun(seed: int) -> torch.Tensor:
        learner = given.worker(path, Balance(), Head(), seed=seed)
        weight = learner.engine.module.get_submodule(HEAD).mlp[0].weight
        return weight.full_tensor() if hasattr(weight, "full_tensor") else weight

    first = begun(1)
    torch.rand(3)  # what was drawn before says nothing
    assert torch.equal(begun(1), first)
    assert not torch.equal(begun(2), first)


@pytest.mark.parametrize("name", [n for n, objective in FAMILY.items() if objective.needs.head])
def test_each_preset_with_a_head_has_the_loss_of_plain_transformers(path, name) -> None:
    objective = FAMILY[name]
    rollout = given.sample(path, spread=0.4)
    learner = given.worker(path, objective, Head())
    loss, norm, _ = given.plain(path, rollout, objective, given.set_head(learner, Head()))
    said = given.learn(learner, rollout.data(objective))
    assert said["loss"][0] == pytest.approx(loss, rel=1e-4)
    assert said["grad_norm"][0] == pytest.approx(norm, rel=1e-4)


def test_with_weights_in_bfloat16_the_head_computes_in_float32(path) -> None:
    rollout = given.sample(path, spread=0.4)
    head = Head(trunk_gradient=True)
    learner = given.worker(path, Balance(), head, packed=True, precision="bf16")
    loss, norm, of_head = given.plain(path, rollout, Balance(), given.set_head(learner, head))
    said = given.learn(learner, rollout.data(Balance()))
    assert said["loss"][0] == pytest.approx(loss, rel=0.05)
    assert said["grad_norm"][0] == pytest.approx(norm, rel=0.1)
    assert said["grad_norm/head"][0] == pytest.approx(of_head, rel=0.05)
    weights = learner.engine.module.get_submodule(HEAD).parameters()
    assert {weight.dtype for weight in weights} == {torch.float32}


@pytest.mark.parametrize("objective", [GROUP, Balance()], ids=["group", "head"])
def test_dynamic_micro_batches_add_up_to_the_mini_batch(path, objective) -> None:
    head = Head() if objective.needs.head else None
    rollout = given.sample(path, padding=4, spread=0.4)
    learner = given.worker(path, objective, head, packed=True, tokens=24)
    module = None if head is None else given.set_head(learner, head)
    loss, norm, _ = given.plain(path, rollout, objective, module)
    said = given.learn(learner, rollout.data(objective))
    assert said["loss"][0] == pytest.approx(loss, rel=1e-4)
    assert said["grad_norm"][0] == pytest.approx(norm, rel=1e-4)


def test_an_update_of_padding_alone_moves_nothing(path) -> None:
    rollout = given.sample(path, padding=4)
    rollout.part = torch.zeros_like(rollout.part)
    said = given.learn(given.worker(path, Balance(), Head()), rollout.data(Balance()))
    assert said["loss"][0] == said["grad_norm"][0] == said["grad_norm/head"][0] == 0


def test_answers_with_unknown_rewards_take_no_part(path) -> None:
    rollout = given.sample(path)
    rollout.part[[1, 5]] = False
    rollout.answers.rewards[[1, 5]] = torch.nan
    known = rollout.answers[rollout.part]
    expected = GROUP.estimate(known.old_logprobs, GROUP.prepare(known))
    loss, _ = GROUP.loss(given.Scores(known.old_logprobs), expected, 10.0)
    said = given.learn(given.worker(path, GROUP), rollout.data(GROUP))
    assert said["loss"][0] == pytest.approx(loss.item(), rel=1e-4)


def test_rollout_correction_multiplies_each_answers_loss(path) -> None:
    rollout = given.sample(path, spread=0.4)
    weights = torch.rand(12, 1).expand_as(rollout.answers.mask)
    rollout.answers = rollout.answers.replace(correction=weights.contiguous())
    loss, norm, _ = given.plain(path, rollout, GROUP)
    said = given.learn(given.worker(path, GROUP), rollout.data(GROUP))
    assert said["loss"][0] == pytest.approx(loss, rel=1e-4)
    assert said["grad_norm"][0] == pytest.approx(norm, rel=1e-4)


def test_metrics_are_the_embedded_trainers(path) -> None:
    rollout = given.sample(path, padding=4, spread=0.4)
    model = given.LlamaForCausalLM.from_pretrained(path, attn_implementation="eager")
    count = int(rollout.part.sum())
    now, _ = given.plain_scores(model, rollout.prompts[:count], rollout.responses[:count], 6)
    answers = rollout.answers[rollout.part]
    answers = GROUP.estimate(answers.old_logprobs, GROUP.prepare(answers))
    _, of = GROUP.loss(given.Scores(now.detach()), answers, 12.0)
    of |= {"group": answers.groups}
    expected = divergence_metrics(of) | GROUP.summarise(of)
    said = given.learn(given.worker(path, GROUP), rollout.data(GROUP))
    assert {"log_z/used", "log_z/error", "residual/abs", "weight/p99", "kl/reference"} <= set(said)
    for name, value in expected.items():
        if not isinstance(value, list):
            assert said[name] == pytest.approx([value], rel=1e-3, abs=1e-5), name


def test_each_mini_batch_is_a_mean_over_its_own_answers(path) -> None:
    rollout = given.sample(path, spread=0.4)
    data = rollout.data(GROUP)
    given.tu.assign_non_tensor(data, mini_batch_size=6, global_batch_size=6)
    learner = given.worker(path, GROUP, micro=3, rate=1e-9)
    said = given.learn(learner, data)
    loss, _, _ = given.plain(path, rollout, GROUP)
    assert sum(said["loss"]) / 2 == pytest.approx(loss, rel=1e-4)
    assert learner.steps == 2


def test_an_adapter_learns_a_group_log_z(path) -> None:
    rollout = given.sample(path, padding=4, spread=0.4)
    loss, _, _ = given.plain(path, rollout, GROUP)
    learner = given.worker(path, GROUP, lora=2, rate=1e-2)
    first = given.learn(learner, rollout.data(GROUP))["loss"][0]
    assert first == pytest.approx(loss, rel=1e-4)
    for _ in range(3):
        last = given.learn(learner, rollout.data(GROUP))["loss"][0]
    assert last < first


def test_the_head_learns_at_its_own_rate_and_comes_back_from_a_checkpoint(path, tmp_path) -> None:
    rollout = given.sample(path, spread=0.4)
    head = Head(learning_rate=1e-2)
    learner = given.worker(path, Balance(), head, rate=1e-9)
    first = given.learn(learner, rollout.data(Balance()))
    for _ in range(8):
        given.learn(learner, rollout.data(Balance()))
    learner.save_checkpoint(str(tmp_path), global_step=9)
    saved = {name: p.detach().clone() for name, p in learner.engine.module.named_parameters()}
    after = given.learn(learner, rollout.data(Balance()))
    assert after["loss"][0] < first["loss"][0]

    again = given.worker(path, Balance(), head, rate=1e-9)
    again.load_checkpoint(str(tmp_path))
    for name, weight in again.engine.module.named_parameters():
        assert torch.equal(weight.detach().full_tensor(), saved[name].full_tensor()), name
    # AdamW's moments too: the next update is the same.
    repeated = given.learn(again, rollout.data(Balance()))
    assert repeated["loss"] == after["loss"]
    assert (
        given.learn(again, rollout.data(Balance()))["loss"]
        == (given.learn(learner, rollout.data(Balance()))["loss"])
    )


def test_the_head_is_not_sent_to_what_samples(path) -> None:
    learner = given.worker(path, Balance(), Head())
    assert any(HEAD in name for name, _ in learner.engine.module.named_parameters())
    plain = {name for name, _ in given.worker(path, GROUP).engine.get_per_tensor_param()[0]}
    for sent in ("get_per_tensor_param", "get_per_tensor_param_shard"):
        names = {entry[0] for entry in getattr(learner.engine, sent)()[0]}
        assert names == plain
