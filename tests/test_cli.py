"""The command line, as a person meets it: in this process, and where signals matter in another."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from evenflow.cli import main
from evenflow.config import TrainConfig, dump
from evenflow.run import checkpoints
from evenflow.run.tracking import read_jsonl
from evenflow.training.trainer import Trainer
from tests.training.runs import open_run

Make = Callable[..., TrainConfig]
COMMANDS = [
    "train",
    "plan",
    "pretrain",
    "eval",
    "sample",
    "export",
    "compare",
    "exact",
    "grade",
    "diversity",
    "report",
    "verl",
    "sandbox",
    "config",
    "recipes",
]


@pytest.fixture
def written(recipe: Make, tmp_path: Path) -> str:
    """The small recipe as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(dump(recipe("checkpoint.every=1", "evaluation.questions=4")))
    return str(path)


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with both of its checkpoints."""
    run = tmp_path_factory.mktemp("cli") / "run"
    recipe = run.parent / "recipe.yaml"
    recipe.write_text(f"""
        algorithm: tba
        model: {{path: {tiny_model}}}
        data: {{task: countdown, train_questions: 16}}
        reward: {{functions: {{"tests.training.rewards:digits": 1}}}}
        rollout: {{questions: 2, num_generations: 2, max_completion_length: 8}}
        train: {{steps: 2, learning_rate: 1e-3}}
        evaluation: {{every: 2, questions: 4, samples: 1}}
        checkpoint: {{every: 1, keep: 9}}
    """)
    assert main(["train", str(recipe), f"output={run}"]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, to do things to."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence on stderr of a command that ends with status 2."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_a_run_that_never_starts_leaves_no_folder(
    written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "never"
    said = refused(capsys, "train", written, f"output={folder}", "model.path=nowhere/at/all")
    assert "there is no folder nowhere/at/all" in said
    assert not folder.exists()


# --- help, config ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_helps(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([*command, "--help"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    for word in command or [*COMMANDS, "examples:"]:
        assert word in said


def test_without_a_command_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([])
    assert done.value.code == 0
    assert "post-train a model by a recipe" in capsys.readouterr().out


def test_the_version_with_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("evenflow 0.")
    assert f"torch {torch.__version__}" in said


def test_the_help_of_train_says_where_recipes_and_settings_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    for words in ("`evenflow recipes`", "`evenflow config`", "evenflow train countdown seed=1"):
        assert words in said


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "--model.path", "X"], "model.path=X"),
        (["train", "countdown", "--model.path", "X"], "model.path=X"),
        (["train", "countdown", "--model.path", "X", "seed=1"], "model.path=X"),
        (["train", "countdown", "seed=1", "--seed=3"], "seed=3"),
        (["eval", "--benchmark", "aime24"], "benchmark=aime24"),
    ],
)
def test_a_setting_written_as_an_option_is_answered_with_its_form(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *words)
    assert said.endswith(f"a setting is written key=value: {meant}\n")


def test_a_field_without_its_section_is_answered_with_both(
    written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "train", written, "top_k=1")
    assert "top_k: there is no such field; did you mean rollout.top_k?" in said
    said = refused(capsys, "train", written, "logprob_chunks=1")
    assert "did you mean model.logprob_chunk?" in said


def test_a_wrong_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["trane"])
    assert done.value.code == 2
    assert "invalid choice: 'trane'" in capsys.readouterr().err


def test_config_lists_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    said = capsys.readouterr().out
    assert 'model.dtype: auto | float32 | bfloat16 = "auto"\n    Type of the forward' in said
    assert "objective.reference_weight: number = 1.0" in said
    assert 'objective.kl_estimator: k1 | k2 | k3 = "k3"' in said
    assert "# objective of grpo" in said
    assert main(["config", "pretrain"]) == 0
    assert "architecture.hidden_size: integer = 128" in capsys.readouterr().out


def test_config_searches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "train", "rollout.top"]) == 0
    names = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[::2]]
    assert names == ["rollout.top_p", "rollout.top_k"]
    assert "'xyz' in its name" in refused(capsys, "config", "train", "xyz")


def test_a_reader_that_has_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """evenflow config | head -1"""
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch, os.fdopen(writer, "w") as pipe:
        patch.setattr(sys, "stdout", pipe)
        assert main(["config"]) == 128 + signal.SIGPIPE


# --- train: bad input ------------------------------------------------------------------------

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


# --- resume ----------------------------------------------------------------------------------


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
    for folder in checkpoints.checkpoints(run):
        shutil.rmtree(folder)
    assert "holds no whole checkpoint" in refused(capsys, "train", "--resume", str(run))


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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "countdown_base"], "is a recipe of `evenflow pretrain`"),
        (["pretrain", "countdown"], "is a recipe of `evenflow train`"),
    ],
)
def test_a_recipe_of_another_command(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert says in refused(capsys, *arguments)


def test_a_space_that_yaml_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("reward: {functions: {gsm8k:1.0}}\n")
    assert "reward.functions: a space is missing: gsm8k: 1.0" in refused(
        capsys, "train", str(recipe)
    )


# --- eval, sample, export --------------------------------------------------------------------


def test_eval_of_a_checkpoint(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, model = str(trained.parent / "recipe.yaml"), f"model.path={trained}/checkpoint-000002"
    capsys.readouterr()
    assert main(["eval", recipe, model]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == pytest.approx(json.loads((trained / "summary.json").read_text())["after"])


def sampled(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert main(["sample", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_sample(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = sampled(capsys, str(trained), "--prompt", "1,2>3:", "--prompt", "4>4:", "-n", "3")
    assert [lines[0], lines[4]] == ["1,2>3:", "4>4:"]
    assert len(lines) == 8
    again = sampled(capsys, str(trained), "--prompt", "1,2>3:", "--prompt", "4>4:", "-n", "3")
    assert lines == again
    other = sampled(capsys, str(trained), "--prompt", "1,2>3:", "-n", "3", "--seed", "1")
    assert other[1:] != lines[1:4]


def test_sample_greedy_and_cut_off(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prompt", "1>1:", "--temperature", "0", "--max-tokens", "3", "-n", "2"]
    _, first, second = sampled(capsys, str(trained), *options)
    assert [first[:5], second[:5]] == ["  1  ", "  2  "]
    assert first[5:] == second[5:]
    assert first.endswith(" …")


def test_sample_from_standard_input(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1>1:\n\n2>2:\n"))
    stops = [f"--stop={token}" for token in "0123456789+-*/=,>:"]
    lines = sampled(capsys, str(trained), "-n", "1", *stops, "--top-p", "0.9")
    assert lines[::2] == ["1>1:", "2>2:"]
    assert all(len(line[5:]) <= 1 for line in lines[1::2])  # the stop token is not shown


@pytest.mark.parametrize("text", ["1>1:\r\n2>2:\r\n", "\ufeff1>1:\n2>2:", "1>1:\n\r\n \n2>2:\n"])
def test_lines_of_other_systems_are_the_same_questions(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text, newline=""))
    assert sampled(capsys, str(trained), "-n", "1")[::2] == ["1>1:", "2>2:"]


def test_sample_asks_and_stops_as_in_training(
    recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    stops = ", ".join(f"'{token}'" for token in "0123456789+-*/=,>:")
    config = recipe("train.steps=1", f"rollout.stop=[{stops}]")
    Trainer(config, open_run(config, "test")).run()
    capsys.readouterr()
    lines = sampled(capsys, str(config.output), "--prompt", "1>1:", "-n", "5")
    assert all(len(line[5:]) <= 1 for line in lines[1:])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompt", " "], "is empty"),
        (["--prompt", "1" * 64], "--prompt: too long for the model, which reads 64 tokens"),
        (["--prompt", "1>1:", "--max-tokens", "100"], "lower max_tokens to at most 60"),
        (["--prompt", "1>1:", "-n", "0"], "-n: must be from 1 to"),
        (["--prompt", "1>1:", "--temperature", "-1"], "temperature must be finite"),
        (["--prompt", "1>1:", "--stop", "12"], "'12' is 2 tokens"),
        (["--prompt", "1>1:", "--chat"], "chat template"),
        (["--prompt", "1>1:", "--device", "tpu"], "device: 'tpu' is none"),
        ([], "no question"),
    ],
)
def test_sample_refuses(
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert says in refused(capsys, "sample", str(trained), *arguments)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_export(trained: Path, tmp_path: Path, dtype: str) -> None:
    folder = tmp_path / "deep" / "model"
    assert main(["export", str(trained), str(folder), "--dtype", dtype]) == 0
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    theirs = AutoModelForCausalLM.from_pretrained(trained / "checkpoint-000002")
    assert ours.dtype == getattr(torch, dtype)
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight.to(ours.dtype))
    assert not (folder / "trainer_state.pt").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_export_merges_lora(
    recipe: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    path = tmp_path / "lora.yaml"
    path.write_text(dump(recipe("model.lora={rank: 2}", "train.steps=2", "algorithm=tba")))
    assert main(["train", str(path)]) == 0
    folder = tmp_path / "merged"
    assert main(["export", str(tmp_path / "run"), str(folder)]) == 0
    assert not (folder / "adapter_config.json").exists()
    merged = AutoModelForCausalLM.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(recipe().model.path)
    changed = [
        k for k, v in base.state_dict().items() if not torch.equal(v, merged.state_dict()[k])
    ]
    assert changed
    greedy = ["--prompt", "1,2>3:", "--temperature", "0", "-n", "1"]
    assert sampled(capsys, str(folder), *greedy) == sampled(capsys, str(tmp_path / "run"), *greedy)


def test_export_refuses(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "exists already" in refused(capsys, "export", str(trained), str(tmp_path))
    (tmp_path / "file").write_text("")
    said = refused(capsys, "export", str(trained), str(tmp_path / "file" / "model"))
    assert "file/model: cannot write there" in said
    said = refused(capsys, "export", str(tmp_path / "no/model"), str(tmp_path / "new"))
    assert "there is no folder" in said


# --- another process -------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "evenflow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_then_resume_then_kill_then_resume(
    recipe: Make, written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(str(recipe().output))
    process = start("train", written, "train.steps=100000", "checkpoint.every=100000")
    wait_for(lambda: len(read_jsonl(run / "metrics.jsonl")) >= 2, process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, said
    assert f"go on with: evenflow train --resume {run}" in said.replace("\n", " ")
    saved = checkpoints.latest_whole(run)
    step = int(saved.name.removeprefix("checkpoint-"))
    assert len(read_jsonl(run / "metrics.jsonl")) == step

    process = start("train", "--resume", str(run), "checkpoint.every=1")
    wait_for(lambda: len(checkpoints.checkpoints(run)) >= 2, process)
    process.kill()
    process.communicate()
    capsys.readouterr()
    reached = int(checkpoints.latest_whole(run).name.removeprefix("checkpoint-"))
    assert reached > step
    assert main(["train", "--resume", str(run), f"train.steps={reached + 2}"]) == 0
    steps = [row["step"] for row in read_jsonl(run / "metrics.jsonl")]
    assert steps == list(range(1, reached + 3))
    assert not list(run.glob(".checkpoint-*"))


@contextmanager
def hang_up(handler: Any) -> Iterator[None]:
    """What SIGHUP does, which processes that are started meanwhile take over; by nohup: nothing."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_closes_saves(recipe: Make, written: str) -> None:
    run = Path(str(recipe().output))
    with hang_up(signal.SIG_DFL):
        process = start("train", written, "train.steps=100000", "checkpoint.every=100000")
    wait_for(lambda: len(read_jsonl(run / "metrics.jsonl")) >= 2, process)
    process.send_signal(signal.SIGHUP)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP, said
    assert checkpoints.verify(checkpoints.latest_whole(run)) is None


def test_a_run_under_nohup_outlives_its_terminal(recipe: Make, written: str) -> None:
    run = Path(str(recipe().output))
    with hang_up(signal.SIG_IGN):
        process = start("train", written, "train.steps=100000", "checkpoint.every=100000")
    rows = run / "metrics.jsonl"
    wait_for(lambda: len(read_jsonl(rows)) >= 2, process)
    process.send_signal(signal.SIGHUP)
    reached = len(read_jsonl(rows))
    wait_for(lambda: len(read_jsonl(rows)) >= reached + 2, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_reader_that_has_seen_enough_costs_no_step(recipe: Make, written: str) -> None:
    run = Path(str(recipe().output))
    process = start("train", written, "train.steps=100000", "checkpoint.every=100000")
    wait_for(lambda: len(read_jsonl(run / "metrics.jsonl")) >= 2, process)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    saved = checkpoints.latest_whole(run)
    assert int(saved.name.removeprefix("checkpoint-")) == len(read_jsonl(run / "metrics.jsonl"))
