"""The program that the sandboxed process starts as: `python -P -s -S launcher.py JOB REPORT`.

JOB and REPORT are file descriptors: what to do, as JSON, and where the parent reads. The first
line of the report is written by this file, after the last limit is in place and before the
untrusted code begins; whatever comes after it may be the untrusted code's.
"""

import importlib
import json
import os
import sys

NEIGHBOURS = ("seccomp", "confine", "plain", "harness")
FAILED = 120


def main() -> None:
    """Confine this process, then do the job."""
    job_fd, report = int(sys.argv[1]), int(sys.argv[2])
    with os.fdopen(job_fd, "rb") as file:
        job = json.load(file)
    # Neither the package nor its name is left for the code to find, or to trip over.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    modules = {name: importlib.import_module(name) for name in NEIGHBOURS}
    sys.dont_write_bytecode = True  # these files' is kept from run to run, and no other
    del sys.path[0]
    sys.argv = ["answer.py"]
    try:
        applied = modules["confine"].confine(job)
    except (OSError, KeyError, ValueError) as error:
        os.write(2, f"the sandbox could not be closed: {error}\n".encode())
        os._exit(FAILED)
    for name in NEIGHBOURS:
        del sys.modules[name]
    os.write(report, json.dumps(applied).encode() + b"\n")
    modules["harness"].run(job, report)


main()
