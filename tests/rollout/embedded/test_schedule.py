"""The schedule alone, without a model: who is decoded when, and how many slots do work."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from evenflow.rollout.embedded.refill import CHECK_EVERY, LEAST_SLOTS, bucket, largest_shape
from evenflow.rollout.embedded.schedule import FEWEST, Schedule, room_for_prompts


class Run(NamedTuple):
    steps: int
    slot_steps: int
    prefills: int


def simulate(lengths: list[int], group: int, slots: int) -> Run:
    """Decode answers of these lengths, of which the prefill gives the first token."""
    prompts = len(lengths) // group
    schedule = Schedule(range(prompts), group, slots, room_for_prompts(slots, group, prompts))
    left = [length - 1 for length in lengths]
    steps = slot_steps = prefills = 0
    while True:
        while chosen := schedule.next_prompts():
            prefills += 1
            schedule.end(
                [r for i in chosen for r in range(i * group, (i + 1) * group) if not left[r]]
            )
        schedule.enter()
        if schedule.done:
            assert not any(left)
            return Run(steps, slot_steps, prefills)
        while schedule.narrow():
            pass
        rows = [schedule.row[slot] for slot in schedule.live]
        assert len(set(rows)) == len(rows)
        held = {schedule.prompt[schedule.place[row // group]] for row in rows}
        assert held == {row // group for row in rows}, "each answer's prompt is held"
        run = min(CHECK_EVERY, max(left[row] for row in rows))
        steps, slot_steps = steps + run, slot_steps + run * len(schedule.row)
        for row in rows:
            left[row] = max(0, left[row] - run)
        schedule.end([row for row in rows if not left[row]])


def test_most_slots_work_where_lengths_differ_a_hundredfold() -> None:
    """64 prompts × 8 answers of 20 … 2,000 tokens in 256 slots."""
    rng = random.Random(0)
    lengths = [rng.randint(20, 2000) for _ in range(64 * 8)]
    run = simulate(lengths, 8, 256)
    assert sum(lengths) / run.slot_steps > 0.88
    # Even if a step of few slots took as long as one of all: a batch of 256 that waits for its
    # longest answer, twice, would come to 52 %.
    assert sum(lengths) / (256 * run.steps) > 0.6
    assert run.prefills < 12


def test_equal_lengths_waste_nothing() -> None:
    run = simulate([801] * 512, 8, 256)
    assert run.steps == 2 * 800
    assert run.slot_steps == 256 * run.steps
    assert run.prefills == 2


@pytest.mark.parametrize(("group", "slots"), [(1, 4), (8, 3), (8, 8), (3, 16), (5, 100)])
def test_every_answer_is_decoded_once(group: int, slots: int) -> None:
    rng = random.Random(group)
    lengths = [rng.randint(1, 60) for _ in range(30 * group)]
    run = simulate(lengths, group, slots)
    assert run.slot_steps >= sum(lengths) - len(lengths)


def test_slots_are_halved_down_to_a_few() -> None:
    schedule = Schedule([0, 1], 8, 64, 2)
    schedule.next_prompts()
    schedule.enter()
    assert schedule.narrow() is not None
    assert schedule.narrow() is not None
    assert schedule.narrow() is None, "16 answers"
    schedule.end(range(8))
    moves, places = schedule.narrow() or ({}, {})
    assert schedule.row == [*range(8, 16)]
    assert moves == {slot: slot - 8 for slot in range(8, 16)}
    assert schedule.place == {1: 1}
    assert not places, "there is room for both"
    schedule.end(range(8, 15))
    assert schedule.narrow() is None
    assert len(schedule.row) == FEWEST


@pytest.mark.parametrize("least", [1, 8, 64])
def test_buckets_hold_what_they_are_asked_for_and_at_most_half_as_much_again(least: int) -> None:
    sizes = set()
    for number in range(1, 5000):
        size = bucket(number, least)
        assert size >= number
        assert size == least or size < 1.5 * number
        assert bucket(size, least) == size
        sizes.add(size)
    assert len(sizes) < 30


def test_the_shape_of_a_rollout() -> None:
    shape = largest_shape(32, 8, 200, 257, 512)
    assert shape.slots == 32 * 8
    assert (shape.copies, shape.prompt, shape.answer) == (8, 256, 256)
    assert shape.places == 32
    assert largest_shape(32, 8, 200, 257, 5)[:3] == (5, 8 + 2, 5)
    assert largest_shape(1, 1, 1, 1, 512).slots == LEAST_SLOTS
