"""`evenflow plan`: every recipe, what fits and what does not, and what is asked wrongly."""

from __future__ import annotations

import json
import re
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evenflow.cli import main
from evenflow.config import TrainConfig, dump
from evenflow.policy.loading import ASSETS
from evenflow.training.devices import DEVICES, device_of
from evenflow.training.facts import memory_estimate
from evenflow.training.learning import Learner
from evenflow.training.plan import Lengths, plan, rescores
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]
FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))
COUNTDOWN, GSM8K = (str(FOLDER / f"{name}.yaml") for name in ("countdown", "gsm8k"))
SEVEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 152_064,
    "hidden_size": 3_584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18_944,
}
"""A model of 7 B parameters, of which there is nothing but this."""


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seven")
    (folder / "config.json").write_text(json.dumps(SEVEN))
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """The lines of a plan, by name."""
    capsys.readouterr()
    assert main(["plan", *words]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    return {
        name.strip(): text for name, text in (re.split(r"  +", x[2:], maxsplit=1) for x in lines)
    }


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_a_plan(
    path: Path, seven: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if path.stem.endswith("_base"):
        assert main(["plan", str(path)]) == 2
        assert "is a recipe of evenflow pretrain" in capsys.readouterr().err
        return
    lines = said(capsys, str(path), f"model.path={seven}", "--device=h100")
    assert lines["model"].startswith(f"{seven}, 7,615,616,512 parameters, 7,6")
    assert lines["device"] == "H100 SXM: 776 TFLOP/s, 3 TB/s (measured)"
    assert {"rollout", "reference", "learning", "time", "memory"} <= lines.keys()
    assert lines["fits"] == "no, 72.7 GiB to be had: train with model.lora"


def test_the_time_is_that_of_the_steps_which_the_answers_last_for(
    seven: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (GSM8K, f"model.path={seven}", "--device=h100", "--prompt=100")
    budget = ("rollout.questions=8", "rollout.num_generations=2", "train.answers=33")
    assert " 2 steps in " in said(capsys, *words, *budget)["time"]


def test_an_adapter_makes_it_fit(seven: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (GSM8K, f"model.path={seven}", "model.lora={rank: 16}")
    lines = said(capsys, *words, "--device=h100", "--prompt=100", "--answer=200")
    assert lines["fits"].startswith("yes")
    assert "answers of 200 tokens; prompts of 100 (as given)" in lines["a step"]
    for field, part in (
        ("model.logprob_chunk=30000 train.compile=false", "model.logprob_chunk"),
        ("rollout.questions=512 rollout.max_batch=4096", "rollout.max_batch"),
        ("train.micro_batch_tokens=400000 rollout.questions=512", "train.micro_batch_tokens"),
    ):
        lines = said(capsys, *words, *field.split(), "--device=a100-40gb")
        assert part in lines["fits"]
    lines = said(capsys, *words, "model.dtype=float32", "--device=t4")
    assert lines["fits"].endswith("take a smaller model or a device with more memory")


def test_several_gpus_share_a_run_by_verl(seven: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("verl_math_7b", f"model.path={seven}", "data.train=given")
    h100 = "--device=h100"
    # 7.64 G parameters with the head: 4 bytes of weights, 12 of gradients and moments, over eight.
    eight = said(capsys, *words, h100, "--gpus=8")
    assert eight["always"].startswith("17.78 GiB on each of 8 GPUs (weights 3.56, gradients")
    assert eight["fits"].startswith("yes")
    assert "seconds" not in eight
    sixteen = said(capsys, *words, h100, "--gpus=16")
    assert sixteen["always"].startswith("8.89 GiB")
    assert sixteen["learning"].split(" on ")[0] == eight["learning"].split(" on ")[0]
    for more, remedy in (
        (("--gpus=1",), "optimizer_offload=True"),
        (("rollout.gpu_share=0.8", "--gpus=8"), "lower rollout.gpu_share"),
        (("train.micro_batch_tokens=100000", "--gpus=8"), "use_fused_kernels=True"),
    ):
        assert remedy in said(capsys, *words, *more, h100)["fits"]
    assert (
        "over 2 GPUs" in said(capsys, *words, "rollout.gpu_share=0.2", h100, "--gpus=8")["sampling"]
    )


def test_several_gpus_hold_what_the_recipe_says(
    seven: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without recomputation each layer's activations stay, 28 of them; float32 doubles them, what
    is gathered and the logits."""
    words = ("verl_math_7b", f"model.path={seven}", "data.train=given", "--device=h100", "--gpus=8")

    def learning(*more: str) -> dict[str, float]:
        listed = said(capsys, *words, *more)["learning"].partition("(")[2].rstrip(")")
        return {part: float(size) for part, size in (x.rsplit(" ", 1) for x in listed.split(", "))}

    usual = learning()
    kept = learning("model.gradient_checkpointing=false")
    assert kept["activations"] > 12 * usual["activations"]
    assert kept["logits"] == usual["logits"]
    for part, size in learning("model.dtype=float32").items():
        assert size == pytest.approx(2 * usual[part], abs=0.02)


def test_more_tokens_than_the_model_has_positions_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    room = 128 - 100
    fits = said(capsys, COUNTDOWN, f"rollout.max_completion_length={room}", "--prompt=100")
    assert "take care" not in fits
    over = said(capsys, COUNTDOWN, f"rollout.max_completion_length={room + 1}", "--prompt=100")
    assert "more than the model's 128 positions: train refuses" in over["take care"]


def test_what_the_questions_are_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, COUNTDOWN, "data.train_questions=50", "--device=cpu")
    assert "(of 50 questions)" in lines["a step"]
    assert lines["device"] == "1 CPU core: 0.06 TFLOP/s, 0.01 TB/s (an ordinary one)"


def test_measured_ceilings_take_the_place_of_a_data_sheet(
    seven: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (GSM8K, f"model.path={seven}", "--device=h200")
    sheet = said(capsys, *words)
    slow = said(capsys, *words, "--gemm=100", "--copy=1")
    assert slow["device"] == "H200: 100 TFLOP/s, 1 TB/s (as given)"
    assert seconds(slow["learning"]) > 5 * seconds(sheet["learning"])
    here = said(capsys, COUNTDOWN, "data.train_questions=5")
    assert "(measured now)" in here["device"]


def seconds(line: str) -> float:
    found = re.search(r"([\d.e+]+) s \(", line)
    assert found
    return float(found[1])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "plan needs a recipe, e.g. countdown"),
        (
            (COUNTDOWN, "--device=b300"),
            "there is no 'b300'; there are h100",
        ),
        ((COUNTDOWN, "--gpus=8", "--device=cpu"), "--gpus: needs a --device that is a GPU"),
        ((COUNTDOWN, "--gemm=-1"), "--gemm: must be above 0, got -1"),
        ((COUNTDOWN, "--answer=nan"), "--answer: must be above 0, got nan"),
        ((GSM8K,), "the recipe leaves open what only you can say: model.path=…"),
        (
            (GSM8K, "model.path=no/where/at/all"),
            "there is no folder no/where/at/all",
        ),
    ],
)
def test_what_is_asked_wrongly(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_name_on_the_hub_without_a_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    words = (GSM8K, "model.path=nobody/nothing", "--device=t4")
    assert main(["plan", *words]) == 2
    assert "model.path: cannot read the model nobody/nothing: " in capsys.readouterr().err


def test_a_configuration_that_makes_no_sense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("{", "[]", '{"model_type": "nonesuch"}', json.dumps(SEVEN | {"hidden_size": "x"})):
        (tmp_path / "config.json").write_text(text)
        assert main(["plan", GSM8K, f"model.path={tmp_path}", "--device=t4"]) == 2
        assert f"model.path: cannot read the model {tmp_path}: " in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["flowrl", "grpo", "dr-grpo", "ppo"])
@pytest.mark.parametrize(
    "more",
    [(), ("model.dtype=bfloat16",), ("model.lora={rank: 2}",), ("critic.trunk=own",)],
    ids=lambda more: " ".join(more),
)
def test_the_run_and_its_plan_speak_of_the_same_memory(
    recipe: Make, algorithm: str, more: tuple[str, ...]
) -> None:
    """But for a critic's own trunk and what an adapter leaves of its base, within a few percent."""
    config = recipe(f"algorithm={algorithm}", *more)
    trainer = Trainer(config)
    truth = memory_estimate(config, trainer.policy, trainer.questions)
    found = [len(prompt.ids) for prompt in trainer.questions.train]
    lengths = Lengths(sum(found) / len(found), max(found), "")
    planned = plan(config, device_of("cpu"), lengths).memory
    assert planned == pytest.approx(truth, rel=0.08)


def test_weights_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(ASSETS / "countdown", tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    words = (COUNTDOWN, "data.train_questions=5", f"model.path={folder}")
    assert said(capsys, *words, "--device=cpu")["fits"].startswith("yes")


def test_every_device_is_listed_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in (*DEVICES, "cpu", "here"))


def test_a_gpu_without_bfloat16_computes_in_float32(recipe: Make, seven: Path) -> None:
    config = recipe(f"model.path={seven}", "rollout.questions=32", "rollout.decoding=dynamic")
    lengths = Lengths(100, 100, "")
    halves = {
        name: plan(config, device_of(name), lengths).memory["sampling cache"]
        for name in ("t4", "l40s")
    }
    assert halves["t4"] == 2 * halves["l40s"]
    assert torch.float32.itemsize == device_of("t4").half


def test_the_recipe_is_what_train_takes(
    recipe: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path: Any = tmp_path / "small.yaml"
    path.write_text(dump(recipe()))
    assert said(capsys, str(path), "rollout.questions=7")["a step"].startswith("7 questions × 4")


@pytest.mark.parametrize("algorithm", ["flowrl", "best", "grpo", "ppo", "gspo", "subtb"])
@pytest.mark.parametrize("half", [2, 4])
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("train.epochs=2",),
        ("train.mini_batch_questions=1",),
        ("rollout.lag=1",),
        ("rollout.lag=1", "train.epochs=2"),
        ("rollout.engine=vllm",),
        ("rollout.segment=2", "rollout.max_completion_length=8"),
        ("rollout.lag=1", "train.correction.kind=none"),
        ("model.lora={dropout: 0.1}", "rollout.engine=vllm"),
    ],
    ids=" ".join,
)
def test_the_plan_scores_again_where_the_learner_does(
    recipe: Make, algorithm: str, half: int, overrides: tuple[str, ...]
) -> None:
    own = "objective={}" if algorithm != "flowrl" else "seed=0"
    config = recipe(f"algorithm={algorithm}", own, *overrides)
    objective = config.build_objective()
    learner = Learner(
        None,  # type: ignore[arg-type]
        objective,
        None,  # type: ignore[arg-type]
        config.train,
        correction=config.build_correction(),
        dropout=config.setting.dropout,
    )
    earlier = bool(config.rollout.lag or config.rollout.segment)
    rows: Any = types.SimpleNamespace(
        versions=torch.full((4,), -earlier), count=config.rollout.questions
    )
    exact = half == 4 and config.rollout.engine == "embedded"
    asked = learner.needs_old_logprobs(rows, exact=exact)
    assert rescores(config, objective, half) is bool(asked.any())
