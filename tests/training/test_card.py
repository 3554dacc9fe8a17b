"""What lies in a checkpoint beside the model: its card; and what a checkpoint takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from evenflow.config import TrainConfig, check
from evenflow.errors import UserError
from evenflow.run.checkpoints import latest_whole, verify
from evenflow.training.card import command, fenced, is_hub_name, licence_of, model_card
from evenflow.training.disk import checkpoint_size, disk_needed
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]


def test_a_checkpoint_has_a_card_with_its_recipe_and_scores(recipe: Make) -> None:
    config = recipe("evaluation.every=4", "evaluation.questions=2", "train.steps=1")
    result = Trainer(config).run()
    card = (result.checkpoint / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "transformers"
    assert f"- **base model**: {config.model.path}, licence: see the base model's own card" in body
    assert "- **rewards**: tests.training.rewards:digits × 1" in body
    assert (
        f"| accuracy | {result.before['accuracy']:.4g} | {result.after['accuracy']:.4g} |" in body
    )
    written = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])
    assert check(TrainConfig, written) == config


def test_the_licence_is_the_one_that_the_bases_card_names(tmp_path: Path) -> None:
    assert licence_of("builtin:countdown") == "apache-2.0"
    assert licence_of(str(tmp_path)) is None
    (tmp_path / "README.md").write_text("no front matter\nlicense: mit\n")
    assert licence_of(str(tmp_path)) is None
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licence_of(str(tmp_path)) == "mit"
    assert licence_of("org/name") is None


def test_a_name_on_the_hub_is_named_as_the_base(recipe: Make) -> None:
    config = recipe()
    named = config.model_copy(
        update={"model": config.model.model_copy(update={"path": "org/base-7B"})}
    )
    assert "\nbase_model: org/base-7B\n" in model_card(named, 1, {}, {})
    assert "\nbase_model:" not in model_card(config, 1, {}, {})
    assert not is_hub_name("builtin:countdown")


@pytest.mark.parametrize(
    ("overrides", "total"),
    [
        ([], "2 of 6,"),
        (["train.answers=9"], "2 of 2,"),
        (["train.answers=9999"], "2 of 6,"),
        (["train.answers=12", "rollout.dynamic_sampling=true"], "2 of at most 3,"),
        (["train.answers=12", "algorithm=tba", "objective={log_z: offline}"], "2 of at most 3,"),
        (["rollout.dynamic_sampling=true"], "2 of 6,"),
    ],
)
def test_the_steps_are_those_of_the_budget(recipe: Make, overrides: list[str], total: str) -> None:
    batch = ["train.steps=6", "rollout.questions=2", "rollout.num_generations=2"]
    card = model_card(recipe(*batch, *overrides), 2, {}, {})
    assert f"- **steps**: {total} 2 questions × 2 answers each" in card


def test_the_command_is_ours_or_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/bin/evenflow", "train", "countdown", "a=b c"])
    assert command() == "evenflow train countdown 'a=b c'"
    monkeypatch.setattr(sys, "argv", ["/x/notebook.py"])
    assert "from Python" in command()


@pytest.mark.parametrize("weights_only", [False, True])
def test_the_disk_is_known_before_the_first_step(recipe: Make, weights_only: bool) -> None:
    trainer = Trainer(recipe(f"checkpoint.weights_only={str(weights_only).lower()}"))
    expected = checkpoint_size(trainer.config, trainer.policy)
    trainer.config = trainer.config.model_copy(
        update={"train": trainer.config.train.model_copy(update={"steps": 1})}
    )
    checkpoint = trainer.run().checkpoint
    names = ["*.safetensors", "parts/*", "trainer_state.pt"]
    size = sum(path.stat().st_size for name in names for path in checkpoint.glob(name))
    assert expected < size < 1.2 * expected + 40_000


def test_a_disk_that_is_too_small_for_one_checkpoint_is_refused(recipe: Make) -> None:
    trainer = Trainer(recipe())
    one = checkpoint_size(trainer.config, trainer.policy)
    with pytest.raises(UserError, match=r"a checkpoint takes about .* checkpoint\.weights_only"):
        disk_needed(trainer.config, trainer.policy, trainer.folder, one / 2)
    assert "lower checkpoint.keep" in disk_needed(
        trainer.config, trainer.policy, trainer.folder, one * 2
    )


def test_weights_alone_are_a_whole_checkpoint_that_no_run_goes_on_from(recipe: Make) -> None:
    config = recipe("checkpoint.weights_only=true", "train.steps=1")
    result = Trainer(config).run()
    assert not (result.checkpoint / "trainer_state.pt").exists()
    assert verify(result.checkpoint) is None
    assert latest_whole(result.folder) == result.checkpoint
    with pytest.raises(UserError, match=r"saved with checkpoint\.weights_only, so that no run can"):
        Trainer(config, resume=result.checkpoint)


def test_beside_the_models_own_no_file_of_weights_lies_in_a_checkpoint(recipe: Make) -> None:
    """What loads models (vLLM for one) takes every *.safetensors in the folder for a part."""
    result = Trainer(recipe("train.steps=1")).run()
    assert [path.name for path in result.checkpoint.glob("*.safetensors")] == ["model.safetensors"]
    assert (result.checkpoint / "parts" / "partition_head.safetensors").is_file()


def test_a_block_of_code_holds_what_has_blocks_of_its_own() -> None:
    assert fenced("seed: 1", "yaml") == ["```yaml", "seed: 1", "```"]
    assert fenced("Q\n```\n{prompt}\n````\n", "sh")[0] == "`````sh"
