"""Two ranks of FSDP2, with each group split over both: as one rank."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import verl_worker as given

from evenflow.objectives import Balance
from evenflow.plugins import HEAD
from evenflow.plugins.choices import Head

CASES = {
    "group": (Balance(log_z="group", duplicates="once"), None),
    "head": (Balance(), Head(trunk_gradient=True)),
}


def one_case(path: str, name: str, ranks: int, rank: int, folder: Path) -> dict:
    """An update, and after a checkpoint and its return the next one."""
    objective, head = CASES[name]
    rollout = given.sample(path, padding=4, spread=0.4)
    rollout.responses[1] = rollout.responses[0]  # a copy, which counts once with it
    for values in (
        rollout.answers.mask,
        rollout.answers.old_logprobs,
        rollout.answers.ref_logprobs,
    ):
        values[1] = values[0]
    rows = list(range(16))[rank::ranks]
    learner = given.worker(path, objective, head, packed=True, micro=4)
    if head is not None:
        given.set_head(learner, head)
    said = given.learn(learner, rollout.data(objective, rows))
    learner.save_checkpoint(str(folder / name), global_step=1)
    second = given.learn(learner, rollout.data(objective, rows))

    again = given.worker(path, objective, head, packed=True, micro=4)
    again.load_checkpoint(str(folder / name))
    third = given.learn(again, rollout.data(objective, rows))
    assert third["loss"] == pytest.approx(second["loss"], rel=1e-6)
    if head is not None:
        weights = again.engine.module.get_submodule(HEAD).mlp[0].weight
        assert weights.to_local().shape[0] == 32 // ranks
    keep = ("loss", "grad_norm", "grad_norm/head", "log_z/", "residual/", "weight/", "kl/")
    return {
        f"{step}/{key}": value[0]
        for step, metrics in (("first", said), ("second", second))
        for key, value in metrics.items()
        if key.startswith(keep)
    }


def child(rank: int, path: str, port: int, folder: Path) -> None:
    given.begin_group(rank, 2, port)
    found = {name: one_case(path, name, 2, rank, folder) for name in CASES}
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_two_ranks_are_as_one(tmp_path) -> None:
    path = given.save_model(tmp_path / "model")
    context = torch.multiprocessing.spawn(
        child, (path, given.free_port(), tmp_path), nprocs=2, join=False
    )
    (tmp_path / "one").mkdir()
    given.begin_group()
    try:
        expected = {name: one_case(path, name, 1, 0, tmp_path / "one") for name in CASES}
    finally:
        torch.distributed.destroy_process_group()
    while not context.join():
        pass
    for rank in (0, 1):
        found = json.loads((tmp_path / f"rank{rank}.json").read_text())
        for name in CASES:
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5)
