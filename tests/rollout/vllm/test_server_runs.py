"""Runs, evaluations and samples whose answers come from servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.rollout.vllm.vllm_server import COMPLETIONS, Fault, Seen, VllmServer, serving
from tests.training.runs import open_run

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.training.trainer import Trainer

Recipe = Callable[..., TrainConfig]


def over(recipe: Recipe, servers: list[VllmServer], *overrides: str) -> TrainConfig:
    """A recipe that samples from these servers."""
    urls = json.dumps([server.url for server in servers])
    return recipe("rollout.engine=vllm", f"rollout.server={urls}", "rollout.timeout=20", *overrides)


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_learns_from_what_servers_sample_with_weights_of_every_step(
    recipe: Recipe, tiny_model: Path
) -> None:
    with serving(tiny_model, tiny_model) as servers:
        config = over(recipe, servers, "train.steps=3")
        result = Trainer(config, open_run(config, "test")).run()
        loads = [len(server.asked("/collective_rpc")) for server in servers]
    assert result.steps == 3
    assert loads == [3, 3]


def test_a_run_whose_only_server_dies_saves_what_it_learned_and_goes_on_later(
    recipe: Recipe, tiny_model: Path
) -> None:
    def dies_late(server: VllmServer, seen: Seen) -> Fault | None:
        if seen.path != COMPLETIONS or len(server.questions) < 10:  # in the third step
            return None
        threading.Thread(target=server.die).start()
        server.ended.wait(5)
        return Fault(close=True)

    with serving(tiny_model, script=dies_late) as servers:
        config = over(recipe, servers)
        folder = open_run(config, "test")
        with pytest.raises(UserError, match="no server is left") as error:
            Trainer(config, folder).run()
        assert "evenflow train --resume" in str(error.value)
        assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-000002"]
    with serving(tiny_model) as servers:
        config = over(recipe, servers)
        result = Trainer(config, resume=folder / "checkpoint-000002").run()
    assert result.steps == 4
    assert [row["step"] for row in rows_of(folder)] == [1, 2, 3, 4]
    assert [row["answers"] for row in rows_of(folder)] == [16, 32, 48, 64]  # none counts twice
