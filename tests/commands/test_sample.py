"""evenflow sample: what is shown, and when. Its command line is tested in test_cli.py."""

from __future__ import annotations

from collections.abc import Iterator

from tests.groups import make_group

from evenflow.commands.sample import in_order
from evenflow.rollout.group import Group


def test_questions_are_shown_in_their_order_each_as_soon_as_it_may_be() -> None:
    given: list[int] = []

    def groups() -> Iterator[Group]:
        for place in (1, 0, 3, 2):
            given.append(place)
            yield make_group("q", [[1]], place=place)

    shown = [(group.place, list(given)) for group in in_order(groups())]
    assert shown == [(0, [1, 0]), (1, [1, 0]), (2, [1, 0, 3, 2]), (3, [1, 0, 3, 2])]
