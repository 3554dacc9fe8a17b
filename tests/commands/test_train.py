"""`evenflow train`: what it refuses, in a sentence, and how a run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands.conftest import refused

from evenflow.cli import main
from evenflow.config import TrainConfig
from evenflow.run import checkpoints
from evenflow.run.tracking import read_jsonl

Make = Callable[..., TrainConfig]


def test_a_run_that_never_starts_leaves_no_folder(
    written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "never"
    said = refused(capsys, "train", written, f"output={folder}", "model.path=nowhere/at/all")
    assert "there is no folder nowhere/at/all" in said
    assert not folder.exists()


BAD = {
    "none.yaml": "none.yaml: there is no such recipe",
    "train.stps=1": "train.stps: there is no such field; did you mean train.steps?",
    "model.path=nowhere/at/all": "model.path: there is no folder nowhere/at/all",
    "data.task=chess": "data.task 'chess': is neither package.module:class nor built in",
    "data.task_options={numbers: 9}": "2 to 5 numbers",
    "data.max_prompt_length=4": "the limit is 4; raise data.max_prompt_length",
    "rollout.max_completion_length=60": "lower rollout.max_completion_length",
    "rollout.stop=['12']": "rollout.stop: '12' is 2 tokens",
    "device=tpu": "device: 'tpu' is none",
    "reward.functions={tests.nowhere:f: 1}": "there is no module 'tests.nowhere'",
}


@pytest.mark.parametrize("override", BAD)
def test_bad_input_is_one_sentence(
    written: str, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    recipe = [override] if override.endswith(".yaml") else [written, override]
    assert BAD[override] in refused(capsys, "train", *recipe)


def test_a_field_without_its_section_is_answered_with_both(
    written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "train", written, "top_k=1")
    assert "top_k: there is no such field; did you mean rollout.top_k?" in said
    said = refused(capsys, "train", written, "logprob_chunks=1")
    assert "did you mean model.logprob_chunk?" in said


@pytest.mark.parametrize(
    ("rows", "override", "says"),
    [
        (None, "seed=0", "there is no file"),
        ('{"question": "1>"}', "seed=0", "row 1 has no column 'prompt', which data.prompt_column"),
        ('{"prompt": " "}', "seed=0", "row 1: the prompt in column 'prompt' is empty"),
        ('{"prompt": "1>"}\nnot JSON', "seed=0", "line 2: is not JSON (column 1)"),
        ("", "seed=0", "have no rows"),
        ('{"prompt": "1>"}', "data.prompt_template='{x}'", "no column 'x', which data.prompt_tem"),
        ('{"prompt": "1234>"}', "data.max_prompt_length=3", "row 1: the prompt has 5 tokens"),
    ],
)
def test_bad_data_are_one_sentence(
    written: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: str | None,
    override: str,
    says: str,
) -> None:
    path = tmp_path / "data.jsonl"
    if rows is not None:
        path.write_text(rows)
    source = ["data.task=null", f"data.train={path}"]
    assert says in refused(capsys, "train", written, *source, override)


def test_train_needs_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert "train needs a recipe" in refused(capsys, "train")


def test_a_folder_that_cannot_be_written(
    written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    output = f"output={tmp_path / 'file' / 'run'}"
    assert "file/run: cannot write there" in refused(capsys, "train", written, output)


def test_an_earlier_run_is_not_overwritten(
    written: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "train", written, f"output={run}")
    assert f"{run}: holds the checkpoints of an earlier run; go on with it by --resume" in said


@pytest.mark.parametrize("name", ["samples.jsonl", "metrics.jsonl", "summary.json"])
def test_a_full_disk_is_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write that goes wrong is a real one: to /dev/full."""
    kept = Path.open

    def opened(path: Path, mode: str = "r", **arguments: object) -> object:
        full = path.name.strip(".").removesuffix(".tmp") == name and mode in ("a", "w")
        # The old rows are kept first: it is what the run adds that no longer fits.
        full = full and not (name.endswith("l") and mode == "w")
        return kept(Path("/dev/full") if full else path, mode, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", opened)
    said = refused(capsys, "train", "--resume", str(run), "train.steps=4")
    assert f"{name}: the disk is full" in said
    assert checkpoints.verify(checkpoints.latest_whole(run)) is None


# --- going on --------------------------------------------------------------------------------


def test_a_new_run_starts_from_an_earlier_ones_last_checkpoint(
    written: str, trained: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    assert main(["train", written, f"output={new}", f"model.path={trained}", "train.steps=1"]) == 0
    assert f"path: {trained / 'checkpoint-000002'}" in (new / "config.yaml").read_text()


def test_resume_goes_on_further(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has all of its 2 steps" in refused(capsys, "train", "--resume", str(run))
    assert main(["train", "--resume", str(run), "train.steps=4", "checkpoint.keep=1"]) == 0
    assert [row["step"] for row in read_jsonl(run / "metrics.jsonl")] == [0, 1, 2, 3, 4]
    assert [row["step"] for row in read_jsonl(run / "samples.jsonl")] == [0, 2, 4]
    assert json.loads((run / "summary.json").read_text())["steps"] == 4
    assert [path.name for path in checkpoints.checkpoints(run)] == ["checkpoint-000004"]
    assert (run.parent / "latest").resolve() == run
    assert "steps: 4" in (run / "config.yaml").read_text()


def test_resume_passes_over_a_damaged_checkpoint(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = run / "checkpoint-000002/model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-100])
    (run / "summary.json").unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert f"model.safetensors has {len(before) - 100} bytes" in capsys.readouterr().out
    assert weights.read_bytes() == before  # step 2 again, bit for bit


def test_resume_of_what_is_no_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no config.yaml" in refused(capsys, "train", "--resume", str(tmp_path))
    said = refused(capsys, "train", "--resume", str(tmp_path / "none"))
    assert f"{tmp_path / 'none'}: there is no such folder" in said
    for folder in checkpoints.checkpoints(run):
        shutil.rmtree(folder)
    assert "holds no whole checkpoint" in refused(capsys, "train", "--resume", str(run))


@pytest.mark.parametrize("part", ["checkpoint-000001", "checkpoint-000002/", "config.yaml"])
def test_resume_of_a_part_of_a_run_names_the_run(
    run: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    said = refused(capsys, "train", "--resume", f"{run}/{part}")
    assert f"lies in a run; name its run: {run} (--resume goes on" in said


@pytest.mark.parametrize(
    ("config", "files", "kind"),
    [
        ("benchmark: countdown", ["answers.jsonl"], "an evaluation on a benchmark"),
        ("architecture: {}", [], "a pretraining run"),
        (None, ["plan.json", "study.yaml"], "a comparison"),
    ],
)
def test_resume_of_other_results(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    config: str | None,
    files: list[str],
    kind: str,
) -> None:
    for name, text in [("config.yaml", config), *((file, "{}") for file in files)]:
        if text is not None:
            (tmp_path / name).write_text(text)
    said = refused(capsys, "train", "--resume", str(tmp_path))
    assert f"{tmp_path}: holds {kind}, and --resume goes on with a training run" in said


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algorithm=rtb", "algorithm: cannot change when a run goes on"),
        ("objective={log_z: running}", "objective: cannot change when a run goes on"),
        ("train.learning_rate=1", "train.learning_rate: cannot change when a run goes on"),
        ("model.lora={rank: 2}", "cannot change when a run goes on"),
        ("head.layers=2", "head.layers: cannot change when a run goes on"),
        ("seed=9", "seed: cannot change when a run goes on"),
        ("other.yaml", "'other.yaml': an override is written key=value"),
    ],
)
def test_resume_refuses_what_it_could_not_obey(
    run: Path, capsys: pytest.CaptureFixture[str], override: str, says: str
) -> None:
    assert says in refused(capsys, "train", override, "--resume", str(run))


def test_a_space_that_yaml_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("reward: {functions: {gsm8k:1.0}}\n")
    assert "reward.functions: a space is missing: gsm8k: 1.0" in refused(
        capsys, "train", str(recipe)
    )
