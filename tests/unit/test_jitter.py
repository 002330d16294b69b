"""Chance is the system's: a project's own random numbers stay as its seed made them."""

import random

from django_ais import jitter, wire
from django_ais.retry import Backoff


def test_a_seed_of_the_projects_does_not_make_two_processes_wait_alike():
    def drawn():
        random.seed(7)
        return [jitter.between(0, 1) for _ in range(4)]

    assert drawn() != drawn()


def test_a_draw_takes_nothing_from_the_projects_own_generator():
    random.seed(7)
    before = random.getstate()

    jitter.between(0, 1)
    wire.retry()

    assert random.getstate() == before


def test_a_draw_stays_between_its_bounds():
    drawn = [jitter.between(2, 5) for _ in range(500)]

    assert all(2 <= number <= 5 for number in drawn)
    assert max(drawn) - min(drawn) > 1
    assert 0.5 <= Backoff(first=1).delay(retry=1, spread=jitter.between(0, 1)) <= 1
