"""The page drawn anew while its runs go on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from evenflow.report.folders import each_once
from evenflow.report.page import write_page
from evenflow.report.reading import read_runs


def watch(folders: Sequence[Path], out: Path, seconds: float) -> None:
    """Write the page, and again whenever a file of a run has changed, looking every `seconds`,
    until all runs have ended or Ctrl-C; the page opens itself again for as long."""
    seen: object = None
    try:
        while going_on(folders):
            if (now := changes(folders)) != seen:
                write_page(folders, out, seconds)
                seen = now
            time.sleep(seconds)
    except KeyboardInterrupt:  # the usual end: what there is by now stays
        pass
    write_page(folders, out)


def going_on(folders: Sequence[Path]) -> bool:
    """Whether one of the runs has not ended."""
    return any(run.kind == "training" and not run.ended for run in read_runs(folders))


def changes(folders: Sequence[Path]) -> list[tuple[str, int]]:
    """The files of the runs and when they were last written."""
    kept, _ = each_once(folders)
    paths = (path for folder in kept for path in folder.glob("[!.]*.*") if path.suffix != ".html")
    found = []
    for path in paths:
        with suppress(FileNotFoundError):  # a run puts new files in the place of old ones
            if S_ISREG((state := path.stat()).st_mode):
                found.append((str(path), state.st_mtime_ns))
    return sorted(found)
