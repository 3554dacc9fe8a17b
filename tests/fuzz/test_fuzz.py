"""Damaged input of every kind ends well or in a sentence, and soon.

Cases are made by mutation of valid ones with fixed seeds; EVENFLOW_FUZZ=20000 tries so many of
each kind. A failure names its kind and seed: what was found that way is in the tests of its reader.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from evenflow.cli import main
from evenflow.commands.compare import parse
from evenflow.commands.grade import read
from evenflow.config import (
    BenchmarkConfig,
    CompareConfig,
    ExactConfig,
    PretrainConfig,
    TrainConfig,
    dump,
    load,
)
from evenflow.data import build_prompts, load_rows
from evenflow.errors import UserError
from evenflow.evaluation.benchmarks.answers import Answers, read_facts, saved_config
from evenflow.evaluation.benchmarks.questions import load_questions
from evenflow.evaluation.benchmarks.rating import read_contests, read_users
from evenflow.evaluation.diversity.measure import Measures, means
from evenflow.evaluation.diversity.reading import read_questions
from evenflow.evaluation.diversity.vectors import NgramVectors
from evenflow.policy.loading import load_tokenizer
from evenflow.report.page import make_page
from evenflow.run import checkpoints
from evenflow.run.files import json_line
from evenflow.run.tracking import MetricsLog
from evenflow.studies.compare.comparison import Comparison
from evenflow.training import checkpoint
from evenflow.training.trainer import Trainer
from tests.fuzz.mutations import NASTY, YAML_TEXTS, damaged, json_lines, mutated, packed

TIMES = int(os.environ.get("EVENFLOW_FUZZ", "0"))
SECONDS = 20  # for one case, on a machine at work
Case = Callable[[random.Random, Path], object]


def tried(kind: str, case: Case, folder: Path, times: int) -> None:
    """Every case ends well or in a UserError of a sentence that a terminal can show, and soon. One
    that hangs ends the process: hang.txt in the test's folder says which it was, and where."""
    failures = []
    for seed in range(TIMES or times):
        place = folder / str(seed)
        place.mkdir()
        began = time.monotonic()
        with (folder / "hang.txt").open("w") as file:
            print(f"{kind}, seed {seed}", file=file, flush=True)
            # No signal handler of ours: what raises in the middle of anything breaks the test's
            # own machinery, and code under test that limits its time sets one as well.
            faulthandler.dump_traceback_later(10 * SECONDS, exit=True, file=file)
            try:
                case(random.Random(f"{kind} {seed}"), place)
            except UserError:
                pass
            except Exception as error:
                failures.append(f"seed {seed}: {error!r:.500}")
            finally:
                faulthandler.cancel_dump_traceback_later()
        if (took := time.monotonic() - began) > SECONDS:
            failures.append(f"seed {seed}: took {took:.1f} s")
        shutil.rmtree(place)
    assert not failures, f"{kind}: {len(failures)} failed\n" + "\n".join(failures[:20])


# --- recipes and overrides -------------------------------------------------------------------


def leaves(config: Any, prefix: str = "") -> list[str]:
    """Dotted names of all fields."""
    found = []
    for name, value in config.items():
        found += leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found


KINDS = (TrainConfig, PretrainConfig, BenchmarkConfig, CompareConfig, ExactConfig)
VALID = {
    TrainConfig: ["data.task=countdown"],
    PretrainConfig: [],
    BenchmarkConfig: ["model.path=m", "benchmark=aime24"],
    CompareConfig: ["recipe=r.yaml", "algorithms=[tba, {flowrl: {train: {epochs: 2}}}]"],
    ExactConfig: [],
}
WHOLE = {
    kind: load(kind, None, overrides).model_dump(mode="json") for kind, overrides in VALID.items()
}


def recipe_case(draw: random.Random, place: Path) -> None:
    kind = draw.choice(KINDS)
    values = WHOLE[kind]
    for _ in range(draw.choice((1, 1, 3))):
        values = mutated(values, draw)
    text = yaml.safe_dump(values, allow_unicode=draw.random() < 0.5)
    data = text.encode("utf-8", "surrogatepass")
    what = draw.random()
    if what < 0.3:
        data = damaged(data, draw)
    elif what < 0.6:
        line = draw.choice([at for at, c in enumerate(text) if c == ":"] or [0])
        junk = draw.choice(YAML_TEXTS).encode("utf-8", "surrogatepass")
        data = text[: line + 1].encode("utf-8", "surrogatepass") + b" " + junk + b"\n" + data[line:]
    (place / "recipe.yaml").write_bytes(data)
    config = load(kind, place / "recipe.yaml", [])
    (place / "again.yaml").write_text(dump(config), encoding="utf-8")
    assert load(kind, place / "again.yaml", []) == config


def override_case(draw: random.Random, place: Path) -> None:
    kind = draw.choice(KINDS)
    overrides = list(VALID[kind])
    for _ in range(draw.choice((1, 1, 2))):
        key = draw.choice(leaves(WHOLE[kind])) if draw.random() < 0.9 else draw.choice(YAML_TEXTS)
        if draw.random() < 0.5:
            value = draw.choice(YAML_TEXTS)
        else:
            value = yaml.safe_dump(draw.choice(NASTY), default_flow_style=True)
        overrides.append(f"{key}={value}")
    config = load(kind, None, overrides)
    (place / "again.yaml").write_text(dump(config), encoding="utf-8")
    assert load(kind, place / "again.yaml", []) == config


def study_case(draw: random.Random, place: Path) -> None:
    values = STUDY
    for _ in range(draw.choice((1, 1, 3))):
        values = mutated(values, draw)
    data = yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogatepass")
    (place / "study.yaml").write_bytes(damaged(data, draw) if draw.random() < 0.2 else data)
    request = parse([str(place / "study.yaml")])
    assert all(variant.label.isprintable() for variant in request.variants)
    assert len({variant.slug for variant in request.variants}) == len(request.variants)
    Comparison(request)


STUDY = {
    "recipe": "recipes/countdown.yaml",
    "algorithms": ["tba", "grpo:kl_coefficient=0", {"flowrl": {"importance": "none"}}],
    "seeds": [0, 1],
    "search": {"train.learning_rate": [1e-4, 2e-4]},
    "overrides": {"train": {"answers": 1024}, "device": "cpu"},
    "ood": {"far": {"targets": [41, 60]}},
    "ood_questions": 2,
}


# --- data ------------------------------------------------------------------------------------

ROWS: list[dict[str, Any]] = [
    {"prompt": "1+1", "answer": "2", "id": 1, "tests": {"inputs": ["1"], "outputs": ["2"]}},
    {"prompt": [{"role": "user", "content": "2+2"}], "answer": 4, "id": 2, "level": None},
    {"prompt": "3+3", "answer": ["6", "six"], "id": "c", "when": "2001-01-01"},
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    made = load_tokenizer(str(tiny_model))
    made.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}:"
    return made


def data_case(tokenizer: Any) -> Case:
    def case(draw: random.Random, place: Path) -> None:
        name = draw.choice(("q.jsonl", "q.jsonl", "q.json", "q.jsonl.gz", "q.json.gz"))
        data = json_lines(ROWS, draw)
        if "jsonl" not in name:
            rows = mutated(ROWS, draw)
            data = json.dumps(rows).encode()
            data = damaged(data, draw) if draw.random() < 0.3 else data
        (place / name).write_bytes(packed(data, draw) if name.endswith(".gz") else data)
        templates = (None, None, "{prompt}={answer}", "{answer.x}", "{prompt:>99}", "{id:d}", "")
        build_prompts(
            load_rows(str(place / name)),
            tokenizer,
            prompt_template=draw.choice(templates),
            chat=draw.random() < 0.5,
            system_prompt=draw.choice((None, None, "be brief", "\ud800")),
            chat_template=draw.choice(("auto", "auto", "{{ messages[0].content }}", "", "{%")),
            chat_template_kwargs=draw.choice(({}, {"tokenize": False}, {"x": draw.choice(NASTY)})),
            max_prompt_length=64,
        )

    return case


def parquet_case(tokenizer: Any) -> Case:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    columns = {
        "n": [1, 2],
        "far": arrow.array([2**62, -(2**62)], arrow.timestamp("us")),
        "fine": arrow.array([1, 2], arrow.timestamp("ns")),
        "day": arrow.array([2**30, 1], arrow.date32()),
        "binary": [b"\xff", b"\0"],
        "nested": [{"a": [{"b": 1}]}, {"a": None}],
        "map": arrow.array([[("a", 1)], []], arrow.map_(arrow.string(), arrow.int64())),
        "null": [None, None],
        "real": [float("nan"), float("inf")],
    }

    def case(draw: random.Random, place: Path) -> None:
        chosen = draw.sample(sorted(columns), draw.randrange(4))
        prompts = draw.choice((["1+1", "2"], ["1", None], [["1"], []], [b"1", b"\xff"]))
        table = arrow.table({"prompt": prompts} | {name: columns[name] for name in chosen})
        pyarrow.parquet.write_table(table, place / "q.parquet")
        if draw.random() < 0.6:
            data = (place / "q.parquet").read_bytes()
            (place / "q.parquet").write_bytes(damaged(data, draw))
        template = draw.choice((None, "{prompt} {" + (chosen or ["n"])[0] + "}"))
        rows = load_rows(str(place / "q.parquet"))
        build_prompts(rows, tokenizer, prompt_template=template, max_prompt_length=64)

    return case


def questions_case(draw: random.Random, place: Path) -> None:
    (place / "q.jsonl").write_bytes(json_lines(ROWS, draw))
    overrides = ["model.path=m", f"benchmark={place / 'q.jsonl'}"]
    column = draw.choice(("prompt", "answer", "id", "x"))
    overrides += draw.sample(
        [f"prompt_column={column}", "skip=1", "questions=1"], draw.randrange(3)
    )
    load_questions(load(BenchmarkConfig, None, overrides))


# --- answers, grades, diversity, pages -------------------------------------------------------

ANSWERS: list[dict[str, Any]] = [
    {
        "id": "1",
        "sample": at,
        "prompt": "1+1",
        "gold": "2",
        "response": f"\\boxed{{{at}}}",
        "tokens": 3,
        "finished": True,
        "verdict": "right",
        "reason": "equal",
        "class": "2",
    }
    for at in range(3)
]
SAMPLES: list[dict[str, Any]] = [
    {"step": step, "prompt": "1>1:", "answers": ["1", "2", ""], "rewards": [1.0, 0.0, None]}
    for step in (0, 4, 4)
]


def diversity_case(draw: random.Random, place: Path) -> None:
    (place / "f").write_bytes(json_lines(draw.choice((ANSWERS, SAMPLES)), draw))
    questions = read_questions(place / "f")
    json_line(means(Measures(NgramVectors()).rows(questions)))


def grade_case(draw: random.Random, place: Path) -> None:
    (place / "f.jsonl").write_bytes(json_lines(ANSWERS, draw))
    for row in read(place / "f.jsonl", ("response", "gold")):
        json_line(row).encode()


def evaluation_case(draw: random.Random, place: Path) -> None:
    (place / "answers.jsonl").write_bytes(json_lines(ANSWERS, draw))
    (place / "sampling.json").write_bytes(damaged(b'{"seconds": 1.5, "tokens": 3}', draw))
    (place / "config.yaml").write_text(yaml.safe_dump(mutated(WHOLE[BenchmarkConfig], draw)))
    for read_it in (saved_config, lambda folder: read_facts(folder, "sampling.json")):
        try:
            read_it(place)
        except UserError:
            continue
    answers = Answers(place)
    answers.keep(["1"], 3)
    answers.save()


def rating_case(draw: random.Random, place: Path) -> None:
    contests = {"1": {"problems": {"A": 500}, "participants": [{"rating": 1500, "points": 9}]}}
    value: Any = draw.choice((contests, [1500, 1600]))
    data = json.dumps(mutated(value, draw)).encode()
    (place / "f.json").write_bytes(damaged(data, draw) if draw.random() < 0.3 else data)
    (read_contests if isinstance(value, dict) else read_users)(str(place / "f.json"))


def page_case(draw: random.Random, place: Path) -> None:
    metrics = [{"step": at, "test/accuracy": 0.5, "loss": 1.0 / (at + 1)} for at in range(5)]
    summary = {"algorithm": "flowrl", "before": {"accuracy": 0.2}, "after": {"accuracy": 0.4}}
    (place / "metrics.jsonl").write_bytes(json_lines(metrics, draw))
    (place / "samples.jsonl").write_bytes(json_lines(SAMPLES, draw))
    (place / "summary.json").write_text(json.dumps(mutated(summary, draw)))
    (place / "config.yaml").write_text(yaml.safe_dump(mutated(WHOLE[TrainConfig], draw)))
    if draw.random() < 0.3:
        (place / draw.choice([path.name for path in place.iterdir()])).unlink()
    make_page([place])
    MetricsLog(place, start=2).close()


# --- checkpoints -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step with its checkpoint."""
    run = tmp_path_factory.mktemp("fuzz") / "run"
    recipe = run.parent / "recipe.yaml"
    recipe.write_text(
        f"model: {{path: {tiny_model}}}\ndevice: cpu\n"
        "data: {task: countdown, train_questions: 8}\n"
        "rollout: {questions: 2, num_generations: 2, max_completion_length: 6}\n"
        "train: {steps: 1}\nevaluation: {every: 0}\n"
    )
    assert main(["train", str(recipe), f"output={run}"]) == 0
    return run


def checkpoint_case(trained: Path) -> Case:
    def case(draw: random.Random, place: Path) -> None:
        run = Path(shutil.copytree(trained, place / "run"))
        (folder,) = checkpoints.checkpoints(run)
        files = sorted(path for path in folder.iterdir() if path.is_file())
        target = draw.choice([*files, run / "config.yaml"])
        if draw.random() < 0.2:
            target.unlink()
        else:
            target.write_bytes(damaged(target.read_bytes(), draw))
        if draw.random() < 0.5 and (folder / "manifest.json").is_file():  # forged, as it were
            listed = {
                path.name: {"bytes": size, "blake2b": digest}
                for path in files
                if path.is_file() and path.name != "manifest.json"
                for size, digest in [checkpoints.fingerprint(path)]
            }
            (folder / "manifest.json").write_text(json.dumps({"step": 1, "files": listed}))
        config = load(TrainConfig, run / "config.yaml", ["train.steps=2"])
        Trainer(config, run, resume=checkpoints.latest_whole(run))

    return case


def state_case(trained: Path) -> Case:
    (folder,) = checkpoints.checkpoints(trained)
    state = checkpoint.load_state(folder)

    def case(draw: random.Random, place: Path) -> None:
        run = Path(shutil.copytree(trained, place / "run"))
        (own,) = checkpoints.checkpoints(run)
        torch.save(mutated(state, draw), own / "trainer_state.pt")
        config = load(TrainConfig, run / "config.yaml", ["train.steps=2"])
        Trainer(config, run, resume=own)

    return case


# --- command lines ---------------------------------------------------------------------------

COMMANDS = ("train", "pretrain", "eval", "sample", "export", "compare", "exact", "grade")
COMMANDS += ("diversity", "report", "sandbox", "config")


def words(place: Path) -> list[str]:
    """What command lines are made of; nothing that would work for long."""
    return [
        *(
            "--help",
            "--out",
            "--kind",
            "math",
            "--resume",
            "-n",
            "--prompt",
            "--regrade",
            "--device",
        ),
        *(
            "--temperature",
            "--seed",
            "--only",
        ),
        *("0", "-1", "1e400", "nan", "9" * 5000, "", " ", "\udcff", "a" * 300, "\x1b[31m", "[/b]"),
        *(
            "nowhere.yaml",
            "recipe.yaml",
            "a=b",
            "=",
            "==",
            "seed=\udcff",
            "x" * 300 + "=1",
            "{",
            "--",
        ),
        *(str(place), str(place / "none"), str(place / "f.jsonl"), "/dev/null", "/proc/self/mem"),
        *(
            "task=countdown",
            "judge.model=m",
            "right_only=true",
            "train.steps=0",
            "output=",
            "model.path=",
            "benchmark=x",
            "model.path=nowhere/at/all",
        ),
    ]


def line_case(draw: random.Random, place: Path) -> None:
    (place / "f.jsonl").write_bytes(json_lines(ANSWERS, draw))
    command = draw.choice([name for name in COMMANDS if name != "exact"])
    chosen = [draw.choice(words(place)) for _ in range(draw.randrange(5))]
    # An action or a file that the sandbox would run is no bad input.
    arguments = [command, *chosen] if command != "sandbox" else [command, "run", *chosen]
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            status = main(arguments)
        except SystemExit as error:
            status = error.code
    assert status in (0, 2), (arguments, status, said.getvalue())
    assert "\x1b" not in said.getvalue()


# --- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "case", "times"),
    [
        ("recipe", recipe_case, 30),
        ("override", override_case, 40),
        ("study", study_case, 30),
        ("questions", questions_case, 40),
        ("diversity", diversity_case, 40),
        ("grade", grade_case, 60),
        ("evaluation", evaluation_case, 30),
        ("rating", rating_case, 60),
        ("page", page_case, 12),
    ],
)
def test_files_of_every_kind(kind: str, case: Case, times: int, tmp_path: Path) -> None:
    tried(kind, case, tmp_path, times)


def test_data(tokenizer: Any, tmp_path: Path) -> None:
    tried("data", data_case(tokenizer), tmp_path, 60)


def test_parquet(tokenizer: Any, tmp_path: Path) -> None:
    tried("parquet", parquet_case(tokenizer), tmp_path, 20)


def test_checkpoints(trained: Path, tmp_path: Path) -> None:
    tried("checkpoint", checkpoint_case(trained), tmp_path, 6)


def test_states(trained: Path, tmp_path: Path) -> None:
    tried("state", state_case(trained), tmp_path, 3)


def test_command_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    tried("line", line_case, tmp_path, 30)


# --- what was found --------------------------------------------------------------------------


def test_a_reward_that_no_float_can_hold(tmp_path: Path) -> None:
    row = {"step": 0, "prompt": "1>1:", "answers": ["1", "2"], "rewards": [10**400, float("nan")]}
    (tmp_path / "f").write_text(json_line(row))
    (question,) = read_questions(tmp_path / "f")
    assert [answer.right for answer in question.answers] == [True, None]


def test_marks_of_inputs_that_are_none(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (own,) = checkpoints.checkpoints(run)
    torch.save(checkpoint.load_state(own) | {"inputs": True}, own / "trainer_state.pt")
    with pytest.raises(UserError, match="is not the state of this run's trainer"):
        Trainer(load(TrainConfig, run / "config.yaml", []), run, resume=own)
