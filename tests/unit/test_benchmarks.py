"""The clocks and counters of the benchmarks say what happened, whatever was lost, repeated or late."""

from __future__ import annotations

import sys
import time

import psutil
import pytest

from tests.benchmarks import peers
from tests.benchmarks.streaming.hearing import Subscriber, summary
from tests.benchmarks.streaming.speech import paced, said_at, text


class Heard:
    """One who has heard texts: when each was said, and when it came."""

    def __init__(self, times: dict[float, float], *, heard: int) -> None:
        self.heard = heard
        self._times = times

    def take(self) -> dict[float, float]:
        return self._times


def test_a_text_that_came_twice_counts_once_and_as_repeated():
    """Given two texts, one of which came twice, when they are summed up, then two were delivered and one repeated."""
    found = summary([Heard({10.0: 10.1, 11.0: 11.3}, heard=3)], 2)

    assert (found["frames"], found["share"], found["repeated"]) == (2, 1.0, 0.5)
    assert found["p99"] == pytest.approx(300)
    assert found["seconds"] == pytest.approx(1.3)


def test_a_text_that_did_not_come_is_missing_from_the_share():
    """Given two who were told two texts each, when one has heard nothing, then half was delivered."""
    found = summary([Heard({10.0: 10.1, 11.0: 11.1}, heard=2), Heard({}, heard=0)], 2)

    assert (found["frames"], found["share"], found["repeated"]) == (2, 0.5, 0.0)


def test_nothing_heard_at_all_has_no_latency():
    """Given one who heard nothing, when it is summed up, then the share is nothing and there is no latency to tell."""
    found = summary([Heard({}, heard=0)], 2)

    assert found["share"] == 0
    assert found["p50"] != found["p50"]  # not a number


def test_a_subscriber_tells_when_each_text_was_said_and_forgets_it():
    """Given a subscriber that heard one text twice, when it is asked, then it tells one, and nothing the next time."""
    subscriber, said = Subscriber(), text()
    subscriber.hear(said)
    subscriber.hear(said)

    assert subscriber.heard == 2
    assert list(subscriber.take()) == [said_at(said)]
    assert (subscriber.heard, subscriber.take()) == (0, {})


def test_places_after_the_time_is_over_are_not_given():
    """Given a pace that needs longer than there is time, when it is walked, then it ends with the time."""
    begun = time.monotonic()

    places = list(paced(1_000, 100, seconds=0.1))

    assert places == list(range(len(places)))
    assert 1 <= len(places) <= 11
    assert time.monotonic() - begun < 5


def test_a_walk_without_a_pace_is_as_fast_as_can_be():
    assert list(paced(1_000, 0)) == list(range(1_000))


def test_a_program_that_does_not_answer_is_given_up_and_killed(monkeypatch):
    """Given a program that says nothing and does not end, when it is greeted, then that is an error in the end and the
    program is gone.
    """
    monkeypatch.setattr(peers, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(peers, "END_SECONDS", 0.1)
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    before = psutil.Process().children()

    with pytest.raises(TimeoutError, match="has not answered"), peers.conversing("-c", "exec sleep 600"):
        pass

    assert psutil.Process().children() == before
