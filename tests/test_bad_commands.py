"""Commands as people mistype them, on machines that refuse: a sentence and exit status 2.

Each command is run in this process, in an empty folder that is nobody's repository.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from evenflow import machine
from evenflow.cli import main
from evenflow.config import TrainConfig, dump
from evenflow.run.console import console

Make = Callable[..., TrainConfig]
Say = Callable[..., str]
LONG_NAME = "a" * 300
ASK = ("sample", "MODEL", "--prompt", "1>1:")
URL = "judge.base_url=http://127.0.0.1:9/v1"
JUDGE = ("diversity", "answers.jsonl", "judge.model=m", URL)
PRETRAIN = ("pretrain", "base.yaml")
TRAIN = ("train", "recipe.yaml")
FROM_FILE = (*TRAIN, "data.task=null", "data.train=answers.jsonl", "data.test=answers.jsonl")
RUN = ("sandbox", "run", "program.py")
CHAT = (*TRAIN, "data.chat=true", "data.chat_template={{ messages[0].content }}")
EVAL = ("eval", "model.path=MODEL", "benchmark=answers.jsonl", "grader=math")
COMPARE = ("compare", "recipe.yaml", "algorithms=tba")
EXPORT = ("export", "MODEL", "exported")


@pytest.fixture
def place(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with one file of each kind; the current one."""
    monkeypatch.setattr(machine, "memory", lambda: 2**31)
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    small = recipe("output=null", "train.steps=1", "rollout.max_completion_length=4")
    Path("recipe.yaml").write_text(dump(small))
    Path("base.yaml").write_text(
        "device: cpu\nsteps: 1\nbatch: 2\nevaluation_questions: 2\ntask_options: {numbers: 2}\n"
    )
    rows = [{"prompt": "1+1", "response": str(i), "gold": "2", "answer": "2"} for i in range(3)]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("finished").mkdir()
    Path("finished/metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    Path("program.py").write_text("print(1)\n")
    return folder


@pytest.fixture
def said(place: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """What a command that ends with status 2 says."""

    def refused(*words: str) -> str:
        before = sorted(place.iterdir())
        try:
            status = main([word.replace("MODEL", str(tiny_model)) for word in words])
        except SystemExit as error:  # of the parser of arguments
            status = error.code
        text = capsys.readouterr().err
        assert status == 2, text
        assert "error: " in text
        assert sorted(place.iterdir()) == before  # nothing half made is left
        return text

    return refused


@pytest.mark.parametrize(
    "words",
    [
        (*TRAIN, f"output={LONG_NAME}"),
        (*TRAIN, f"output={'a/' * 3000}"),
        (*TRAIN, f"model.path={LONG_NAME}"),
        (*TRAIN, f"model.path=org/{LONG_NAME}"),
        (*TRAIN, f"model.reference={LONG_NAME}"),
        (*TRAIN, "data.task=null", f"data.train={LONG_NAME}.jsonl"),
        ("train", "--resume", LONG_NAME),
        ("train", f"{LONG_NAME}.yaml"),
        (*PRETRAIN, f"output={LONG_NAME}"),
        (*EVAL, f"output={LONG_NAME}"),
        ("eval", f"model.path={LONG_NAME}", "benchmark=answers.jsonl"),
        ("eval", "--regrade", LONG_NAME),
        ("sample", LONG_NAME, "--prompt", "1>1:"),
        ("export", LONG_NAME, "exported"),
        ("export", "MODEL", LONG_NAME),
        ("export", "MODEL", "a" * 252),  # as long as may be, but for the name while it is written
        (*COMPARE, "seeds=0", f"output={LONG_NAME}"),
        ("grade", LONG_NAME, "--kind", "math", "--out", "graded.jsonl"),
        ("grade", "answers.jsonl", "--kind", "math", "--out", LONG_NAME),
        ("diversity", LONG_NAME),
        ("report", LONG_NAME),
        ("sandbox", "run", LONG_NAME),
    ],
)
def test_names_that_are_too_long(said: Say, words: tuple[str, ...]) -> None:
    said(*words)


NOBODY = "~nosuch/x"


@pytest.mark.parametrize(
    "words",
    [
        (*TRAIN, f"output={NOBODY}"),
        (*TRAIN, f"model.path={NOBODY}"),
        (*TRAIN, f"model.reference={NOBODY}"),
        (*TRAIN, "data.task=null", f"data.train={NOBODY}.jsonl"),
        ("train", "--resume", NOBODY),
        (*PRETRAIN, f"output={NOBODY}"),
        (*EVAL, f"output={NOBODY}"),
        ("eval", f"model.path={NOBODY}", "benchmark=answers.jsonl"),
        ("sample", NOBODY, "--prompt", "1>1:"),
        ("export", NOBODY, "exported"),
        (*COMPARE, "seeds=0", f"output={NOBODY}"),
        ("diversity", "answers.jsonl", f"output={NOBODY}"),
        ("exact", f"page={NOBODY}", "only=rtb"),
        ("exact", f"output={NOBODY}", "only=rtb"),
        ("plan", "recipe.yaml", f"model.path={NOBODY}"),
        ("verl", "gsm8k", "--print", "model.path=MODEL", f"data.train={NOBODY}.jsonl"),
    ],
)
def test_the_home_of_nobody(said: Say, words: tuple[str, ...]) -> None:
    assert "nosuch" in said(*words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("diversity", "answers.jsonl", "task_options={numbers: 3}"), "task_options are a task's"),
        (("recipes", "copy", "program.py"), "program.py: there is no such recipe"),
        (("recipes", "copy", "/etc/passwd"), "/etc/passwd: there is no such recipe"),
        (("plan", "recipe.yaml", "--device", "cpu", "trian.steps=1"), "trian: there is no such"),
        (("verl", "recipe.yaml", "--print", "trian.steps=1"), "trian: there is no such"),
        (("plan", "recipe.yaml", "--device", "cpu", "threads=1", "-x"), "unrecognized arguments"),
        (("sample", "MODEL", "--prompt", "1>1:", "more"), "unrecognized arguments: more"),
        (("train", "none.yaml"), "none.yaml: there is no such recipe"),
        (("train", "."), "is a folder"),
        (("train", "program.py"), "a recipe is a mapping"),
        ((*TRAIN, "trian.steps=1"), "trian: there is no such field; did you mean train?"),
        ((*TRAIN, "a.b.c.d=1"), "there is no such field"),
        ((*TRAIN, "=1"), "an override is written key=value"),
        (("pretrain", "none.yaml"), "none.yaml: there is no such recipe"),
        ((*TRAIN, "data.task_options={nope: 3}"), "there is no 'nope'; there are: numbers, "),
        ((*TRAIN, "data.task_options={targets: [1]}"), "targets: must be a list of 2, not [1]"),
        ((*TRAIN, "data.task_options={targets: [a, b]}"), "targets: must be a valid integer"),
        (
            (*FROM_FILE, "evaluation.every=1", "evaluation.skip=50"),
            "no held-out question is left of 3",
        ),
        ((*TRAIN, "data.prompt_template=same for all"), "names no column"),
        ((*TRAIN, "data.prompt_template='{prompt.__class__}'"), "{prompt.__class__} is no column"),
        (("sample", "MODEL", "--prompt", " "), "--prompt: is empty"),
        (("eval", "model.path=MODEL", "benchmark=nope"), "; your own questions are a .jsonl file"),
        (("plan", "countdown", "--answer", "1e11"), "--answer: must be below 1e9"),
        (("report", "program.py"), "program.py: is a file, no folder"),
        ((*PRETRAIN, "stps=1"), "stps: there is no such field; did you mean steps?"),
        (("eval", "none.yaml"), "none.yaml: there is no such recipe"),
        ((*EVAL, "bench=x"), "bench: there is no such field"),
        (("report", "none"), "none"),
        (("grade", "none", "--kind", "math", "--out", "o"), "none: cannot be read"),
        (("diversity", "none"), "none: cannot be read"),
        (("export", "none/at/all", "x"), "there is no folder"),
        (("sandbox", "run", "none.py"), "none.py: cannot be read"),
        (("sandbox", "run", "/dev/zero"), "/dev/zero: cannot be read: is not a regular file"),
        (("config", "train", "xyz"), "'xyz' in its name"),
    ],
)
def test_what_is_not_there(said: Say, words: tuple[str, ...], says: str) -> None:
    assert says in said(*words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        *(((*TRAIN, f"threads={n}"), "threads: must be ") for n in ("0", "100000", "1.5")),
        *(((*TRAIN, f"rollout.stop=[{n}]"), "the model knows") for n in (99999, -1, 2**64)),
        ((*ASK, "--stop", ""), "only single tokens"),
        ((*TRAIN, "seed=1000000000001"), "seed: must be less than or equal to 1000000000000"),
        ((*TRAIN, "reward.timeout=1e30"), "reward.timeout: must be less than"),
        ((*EVAL, "grading_timeout=1e30"), "grading_timeout: must be less than"),
        *(((*TRAIN, f"train.learning_rate={x}"), "train.learning_rate") for x in ("1e308", ".nan")),
        ((*TRAIN, "train.learning_rate=1e-320"), "is nothing in float32"),
        ((*TRAIN, "rollout.temperature=1e-320"), "too low to divide by"),
        ((*TRAIN, "objective={inverse_temperature: 1e308}"), "objective.inverse_temperature"),
        ((*ASK, "--temperature", "1e-320"), "temperature"),
        ((*ASK, "--temperature", "nan"), "temperature"),
        ((*ASK, "--top-p", "nan"), "top_p"),
        ((*ASK, "--seed", str(2**70)), "--seed: must be from 0"),
        ((*ASK, "-n", "10000000"), "lower it"),
        ((*ASK, "--max-tokens", str(2**80)), "max"),
        *(((*RUN, "--wall", x), "--wall: must be above 0") for x in ("nan", "inf", "1e300", "-1")),
        *(((*RUN, f"--{x}", str(2**70)), f"--{x}: ") for x in ("cpu", "memory", "output", "files")),
        *(((*JUDGE, f"judge.timeout={x}"), "timeout: must be") for x in (".inf", "nan", "1e300")),
        ((*JUDGE, "judge.timeout=0"), "judge.timeout: must be greater than 0"),
        ((*JUDGE, f"judge.parallel={2**70}"), "judge.parallel: must be less than or equal to"),
        ((*JUDGE, "judge.temperature=.nan"), "judge.temperature: must be"),
        (("diversity", "answers.jsonl", "right=nan"), "right: must be a valid number"),
        (("exact", f"seeds={2**70}"), "seeds: must be less than"),
        ((*COMPARE, f"seeds={2**70}"), "seed"),
        ((*COMPARE, "seeds=0", "jobs=0"), "jobs"),
    ],
)
def test_numbers_at_the_ends(said: Say, words: tuple[str, ...], says: str) -> None:
    assert says in said(*words)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        *((f"num_attention_heads={n}", "num_attention_heads") for n in (0, 3, 128, 10**7)),
        *((f"hidden_size={n}", "hidden_size") for n in (0, 1, 130, 10**7, 10**30)),
        *((f"intermediate_size={n}", "intermediate_size") for n in (0, 10**7)),
        *((f"num_hidden_layers={n}", "num_hidden_layers") for n in (0, 10**7)),
        *((f"max_position_embeddings={n}", "max_position_embeddings") for n in (0, 1, 12)),
    ],
)
def test_models_that_cannot_be(said: Say, override: str, says: str) -> None:
    assert says in said(*PRETRAIN, f"architecture.{override}")


@pytest.mark.parametrize("override", ["batch=10000000", "batch=0", "mistakes=.nan", "task=stories"])
def test_base_models_that_cannot_be_trained(said: Say, override: str) -> None:
    assert override.split("=")[0] in said(*PRETRAIN, override)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*CHAT, "data.chat_template=''"), "data.chat_template: is empty"),
        ((*CHAT, "data.chat_template='{{ x }}'"), "shows nothing of the last message"),
        ((*CHAT, "data.chat_template='{% for x in range(10**9) %}{% endfor %}'"), "failed"),
        ((*TRAIN, "data.prompt_template=''"), "data.prompt_template: is empty"),
        ((*TRAIN, "data.prompt_template='{prompt'"), "cannot be filled: expected '}'"),
        ((*TRAIN, "data.prompt_template='{prompt:>999999999999}'"), "filled: MemoryError"),
        *(
            ((*CHAT, f"data.chat_template_kwargs={{{name}: {value}}}"), f"{name} is no argument of")
            for name, value in (
                *(("tokenize", "false"), ("return_dict", "true"), ("return_tensors", "pt")),
                *(("conversation", "3"), ("continue_final_message", "true"), ("padding", "true")),
            )
        ),
        ((*CHAT, "data.chat_template_kwargs={tools: 3}"), "the chat template failed"),
    ],
)
def test_templates(said: Say, words: tuple[str, ...], says: str) -> None:
    assert says in said(*words)


# --- what the system refuses -----------------------------------------------------------------


def denied(number: int) -> Callable[..., NoReturn]:
    def refuse(path: Any, *_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number), str(path))

    return refuse


@pytest.mark.parametrize(
    "words",
    [
        ("grade", "answers.jsonl", "--kind", "math", "--out", "graded.jsonl"),
        ("diversity", "answers.jsonl"),
        ("sandbox", "run", "program.py"),
        TRAIN,
        (*TRAIN, "data.task=null", "data.train=answers.jsonl"),
        (*TRAIN, "model.path=recipe.yaml"),
    ],
)
def test_what_may_not_be_read(
    said: Say, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read anything, and tests may be run by root: the system is asked by another name."""
    monkeypatch.setattr("builtins.open", denied(errno.EACCES))
    said(*words)


@pytest.mark.parametrize(
    "words",
    [
        TRAIN,
        PRETRAIN,
        (*EVAL, "output=there"),
        EXPORT,
        (*COMPARE, "seeds=0"),
        ("grade", "answers.jsonl", "--kind", "math", "--out", "graded.jsonl"),
        ("diversity", "answers.jsonl"),
        ("report", "finished", "--out", "page.html"),
        ("exact", "output=there"),
    ],
)
def test_a_disk_that_is_only_read(
    said: Say, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Path.open

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            denied(errno.EROFS)(path)
        return kept(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(Path, "mkdir", denied(errno.EROFS))
    assert "Read-only file system" in said(*words)


# --- what is broken off ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (TRAIN, "training.stepper.build_learner"),
        (PRETRAIN, "training.pretrain.build_model"),
        (ASK, "rollout.engine.sample"),
        (EXPORT, "training.checkpoint.save_model"),
        ((*COMPARE, "seeds=0", "output=there"), "commands.compare.run"),
        (("exact", "output=there"), "studies.exact.experiments.all_runs"),
        (("grade", "answers.jsonl", "--kind", "math", "--out", "old"), "commands.grade.json_line"),
        (("diversity", "answers.jsonl", "output=old"), "evaluation.diversity.measure.means"),
        (("report", "finished", "--out", "old"), "report.page.make_page"),
        (RUN, "sandbox.sandbox.Sandbox.script"),
        (("config",), "config.fields"),
    ],
)
def test_ctrl_c_in_the_middle(
    place: Path,
    tiny_model: Path,
    words: tuple[str, ...],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> NoReturn:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("goes on")

    (place / "old").write_text("as it was")
    before = sorted(place.iterdir())
    monkeypatch.setattr(f"evenflow.{where}", interrupted)
    assert main([word.replace("MODEL", str(tiny_model)) for word in words]) == 128 + signal.SIGINT
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(place.iterdir()) == before
    assert (place / "old").read_text() == "as it was"


PRINTS = [
    ("--help",),
    *((name, "--help") for name in ("train", "eval", "diversity", "sandbox")),
    ("config",),
    ASK,
    RUN,
    EXPORT,
    ("grade", "answers.jsonl", "--kind", "math", "--out", "graded.jsonl"),
    ("diversity", "answers.jsonl"),
    ("eval", "recipe.yaml", "model.path=MODEL", "evaluation.questions=1"),
]


@pytest.mark.parametrize("words", PRINTS)
def test_a_reader_that_has_gone(
    place: Path, tiny_model: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """evenflow … | true"""
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch, os.fdopen(writer, "w") as pipe:
        patch.setattr(sys, "stdout", pipe)
        status = main([word.replace("MODEL", str(tiny_model)) for word in words])
    assert status == 128 + signal.SIGPIPE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("words", PRINTS)
def test_no_room_for_what_is_printed(
    place: Path,
    tiny_model: Path,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """evenflow … > /dev/full"""
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        assert main([word.replace("MODEL", str(tiny_model)) for word in words]) == 2
    with console.capture():
        pass  # rich keeps what it could not write, for whatever is printed next
    assert "No space left on device" in capsys.readouterr().err


def test_variables_of_the_environment_that_make_no_sense(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evenflow", "config", "train", "threads"],
        env=os.environ | {"OMP_NUM_THREADS": "abc", "COLUMNS": "x", "TERM": "", "LC_ALL": "xx"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("threads: ")
    assert "Traceback" not in done.stderr
