"""What a reward function has returned, as numbers."""

from __future__ import annotations

import math
import numbers
from decimal import Decimal
from typing import Any

from evenflow.errors import UserError


def numbers_of(name: str, returned: Any, count: int) -> list[float | None]:
    """The returned values as floats; UserError unless they are `count` numbers or Nones.

    An array or tensor is a list, and one without dimensions a number. A number that no float can
    hold is infinite.
    """
    try:
        values = returned.tolist() if hasattr(returned, "tolist") else returned
        if not isinstance(values, list | tuple):
            raise UserError(
                f"the reward {name!r} must return a list with one number an answer, "
                f"not {type(returned).__name__}"
            )
        if len(values) != count:
            raise UserError(
                f"the reward {name!r} returned {len(values)} values for {count} answers"
            )
        found: list[float | None] = []
        for at, value in enumerate(values, 1):
            value = _plain(value)
            if value is not None and not isinstance(value, numbers.Real | Decimal):
                raise UserError(
                    f"the reward {name!r} returned {shown(value)} ({type(value).__name__}) for "
                    f"answer {at} of {count}; it must be a number or None"
                )
            found.append(None if value is None else _float(value))
    except UserError:
        raise
    except Exception as error:  # objects of the function's own may do anything when they are read
        raise UserError(
            f"what the reward {name!r} returned cannot be read: {type(error).__name__}: {error}"
        ) from error
    return found


def _plain(value: Any) -> Any:
    """An array or tensor without dimensions as the number in it."""
    return value.item() if getattr(value, "shape", None) == () else value


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except ValueError:  # a decimal's signalling NaN
        return math.nan


def shown(value: Any) -> str:
    """The value as its author would write it, as far as that goes."""
    try:
        return f"{value!r:.80}"
    except Exception:  # whole numbers of thousands of digits, and objects of any kind
        return "something"
