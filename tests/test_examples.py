"""The examples run, and do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_own_loop_learns_many_right_answers() -> None:
    run = subprocess.run(
        [sys.executable, EXAMPLES / "own_loop.py"], capture_output=True, text=True, check=True
    )
    lines = re.findall(r"reward (\S+)  distinct right answers +(\d+)", run.stdout)
    assert float(lines[0][0]) < 0.4
    assert float(lines[-1][0]) > 0.85
    assert int(lines[-1][1]) > 60
