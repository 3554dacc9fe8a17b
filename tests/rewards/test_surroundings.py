"""What reward functions do to the process is undone."""

import io
import subprocess
import sys

import pytest
from tests.rewards.scoring import score


def test_streams_are_put_back(capsys):
    def replaces(completions):
        sys.stdout = sys.stderr = io.StringIO()
        return [1.0, 1.0]

    def removes(completions):
        sys.stdout = None
        return [1.0, 1.0]

    for function in (replaces, removes):
        before = sys.stdout, sys.stderr
        score(function)
        assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    "what", ["sys.stdout.close(); sys.stderr.close()", "sys.stdout.detach()", "os.close(1)"]
)
@pytest.mark.parametrize("when", ["import", "call"])
def test_closed_streams_are_opened_again(what, when, tmp_path):
    (tmp_path / "closes.py").write_text(
        "import os, sys\n"
        + (f"{what}\n" if when == "import" else "")
        + "def f(completions):\n"
        + (f"    {what}\n" if when == "call" else "")
        + "    return [1.0]\n"
    )
    code = (
        "from evenflow.rewards import Rewards, load_reward\n"
        "f = load_reward('closes:f')\n"
        "r = Rewards([('f', f, 1.0)])(['p'], ['c'], {}, completion_ids=[[1]], finished=[True])\n"
        "print(r.total, flush=True)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert (run.returncode, run.stdout) == (0, "[1.0]\n"), run.stderr


def test_settings_of_pytorch_are_put_back():
    torch = pytest.importorskip("torch")

    def sets(completions):
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        return [1.0, 1.0]

    score(sets)
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_float32_matmul_precision() == "highest"
