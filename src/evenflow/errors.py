"""The exceptions that are meant for the person at the keyboard, and words of them."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can mend: one sentence that says what is wrong, where, and what to do.

    The command line prints it as ``error: …`` and exits with status 2; a library caller catches it
    like any exception. Anything else that escapes is a defect of ours and shows its traceback.
    """


class CannotLoad(UserError):
    """A model, a tokenizer or an adapter that its library could not load."""


def brief(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """How a hint begins, "did you mean X? " or "X or Y? ", where known names are like this one;
    nothing where none is."""
    close = get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(close)}? " if close else ""
