"""KaTeX for the page: only where its texts hold formulas, and with its fonts inline."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

PAIRS = ((r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$"))
FORMULA = re.compile(r"\$[^\s$](?:[^$\n]*[^\s$\\])?\$(?!\d)|\\boxed\{")
"""With what stands between the marks of `PAIRS`, what the page sets as a formula (assets/cases.js
splits texts alike)."""
FACE = re.compile(r"@font-face\{[^}]*url\(fonts/(KaTeX_[\w-]+)\.woff2\)[^}]*\}")


def holds_formulas(cases: dict[str, Any]) -> bool:
    """Whether a text of the case study has a formula."""
    return any(FORMULA.search(text) or _between_marks(text) for text in _texts(cases))


def _between_marks(text: str) -> bool:
    """Whether anything stands between two marks. Only the first that opens is looked at: what ends
    a later one ends it, too, and a text may be full of marks that nothing ends."""
    return any(
        (at := text.find(opens)) >= 0 and text.find(ends, at + len(opens) + 1) >= 0
        for opens, ends in PAIRS
    )


def _texts(cases: dict[str, Any]) -> Iterator[str]:
    for question in cases["questions"]:
        yield question["prompt"]
        yield question["gold"] or ""
    for side in cases["sides"]:
        for case in side["cases"].values():
            for group in case["groups"]:
                yield group["label"]
                yield from (text["text"] for text in group["texts"])


def script() -> str:
    """KaTeX itself."""
    return _folder().joinpath("katex.min.js").read_text(encoding="utf-8")


@cache
def style() -> str:
    """Its style with the fonts that come with the package as data; the others' rules are left
    out."""
    return FACE.sub(_inline, _folder().joinpath("katex.min.css").read_text(encoding="utf-8"))


def _inline(face: re.Match[str]) -> str:
    font = _folder() / "fonts" / f"{face[1]}.woff2"
    if not font.is_file():
        return ""
    data = b64encode(font.read_bytes()).decode("ascii")
    source = f'src:url(data:font/woff2;base64,{data}) format("woff2")'
    return re.sub(r"src:[^;}]*", lambda _: source, face[0])


def _folder() -> Any:
    return files("evenflow.report") / "assets" / "katex"
