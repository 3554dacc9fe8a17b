"""The exceptions that are meant for the person at the keyboard, and others on one line."""


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
