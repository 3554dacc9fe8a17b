"""Writes the files beside it: exact versions of everything that an environment installs.

``make constraints`` runs it with the Python of the environments (its versions are those of Linux
on x86-64 and this Python). pip resolves each set without installing it; what it finds on that day
stays until the command is run again. Name files to write only those: ``resolve.py cpu lowest``;
``resolve.py --newer cpu`` writes nothing, and prints what a file would say today and does not.

- ``cpu.txt``, ``cuda.txt``: what ``make train``, ``make test`` and the gate install; they differ in
  PyTorch's build and in the CUDA libraries that it brings.
- ``lowest.txt``: the lowest release of each dependency that ``pyproject.toml`` allows, and the
  newest of the tools that test it.
- ``trl.txt``: the environment of ``make test-trl``.

``vllm.txt``, of ``make test-vllm``, is not among them: what vLLM for CPUs asks for does not work
together. It is what an environment holds that was put together by hand, as its first lines say.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
TORCH = "2.13.0"
PYTHON = ".".join(map(str, sys.version_info[:2]))


def resolve(requirements: list[str]) -> list[str]:
    """The release of each package that pip would install for these requirements."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--dry-run", "--ignore-installed", "--report", str(report), *requirements),
            ],
            check=True,
            cwd=ROOT,
        )
        found = [each["metadata"] for each in json.loads(report.read_text())["install"]]
    own = project()["name"]
    # A local label ("2.13.0+cpu") names a build of the same release, which not every index has.
    return [
        f"{each['name']}=={each['version'].split('+')[0]}" for each in found if each["name"] != own
    ]


def project() -> dict:
    """The project's table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lowest() -> list[str]:
    """Every requirement of the package and its extras but vLLM and MLflow, at their lowest."""
    extras = project()["optional-dependencies"]
    tools = [tool for tool in extras["dev"] if not tool.startswith(project()["name"])]
    apart = ("dev", "vllm", "mlflow")
    ours = [
        *project()["dependencies"],
        *(r for name, rs in extras.items() if name not in apart for r in rs),
    ]
    floors = [re.sub(r">=\s*([^,;]+).*", r"==\1", requirement) for requirement in ours]
    return [*floors, *tools]


def write(name: str) -> None:
    """One file of constraints."""
    print(f"{name}.txt …", flush=True)
    lines = resolve(requirements(name))
    (HERE / f"{name}.txt").write_text(
        f"# Made by `make constraints` on {time.strftime('%Y-%m-%d')} with Python {PYTHON}.\n"
        + "\n".join(sorted(lines, key=str.lower))
        + "\n"
    )


def requirements(name: str) -> list[str]:
    """What a file's environment is to hold."""
    # hatchling builds the package itself. "===" asks for exactly the release without a label.
    everything = ["-e", ".[dev]", "hatchling"]
    sets = {
        "cpu": [f"torch=={TORCH}", *everything],
        "cuda": [f"torch==={TORCH}", *everything],
        "lowest": [*lowest(), "hatchling"],
        "trl": [f"torch=={TORCH}", "-r", "tests_trl/requirements.txt", "-e", ".", "hatchling"],
    }
    return sets[name]


def newer(name: str) -> list[str]:
    """What a file would say today and does not."""
    known = (HERE / f"{name}.txt").read_text().splitlines()
    return [release for release in resolve(requirements(name)) if release not in known]


def main(names: list[str]) -> None:
    if names[:1] == ["--newer"]:
        print(*newer(names[1]), sep="\n")
        return
    for name in names or ("cpu", "cuda", "lowest", "trl"):
        write(name)


if __name__ == "__main__":
    main(sys.argv[1:])
