"""The formats of a stream: exact bytes for recorded runs, and the rules that their clients live by."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_ais import wire
from django_ais.wire.native import Native
from tests.unit.wire.clients import AgUiClient, VercelClient, lines_of
from tests.unit.wire.recordings import FORMATS, GOLDEN, RUN, STORIES, envelopes, run_of, told

EARLIER = {"id": "u1", "role": "user", "content": "Where?"}
BOTH = ["agui", "vercel"]


def vercel(story: str, *, until: int = 1) -> VercelClient:
    """A client of the AI SDK that comes back whenever the stream was interrupted: then the run is further."""
    client = VercelClient().read(told(story, "vercel", until=until))
    while client.ending == "stream_interrupted":
        until += 1
        client = VercelClient().read(told(story, "vercel", until=until))
    return client


def agui(story: str, *, until: int = 1) -> AgUiClient:
    return AgUiClient([EARLIER]).read(told(story, "agui", until=until))


def stream_of(said: list[tuple[int, str, dict[str, Any]]], format: str, *, until: int = 1) -> bytes:
    return FORMATS[format](until).frames(envelopes(said))


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.txt")), ids=lambda file: file.stem)
def test_a_recorded_run_is_told_in_these_very_bytes(file):
    """Given a recorded run, when it is told in a format, then the bytes are those of the golden file."""
    story, format, *how = file.stem.split(".")
    until = len(STORIES[story]) - 4 if "joined" in how else 1

    assert told(story, format, until=until, is_staff="staff" in how) == file.read_bytes()


def test_every_recorded_run_has_its_golden_files():
    """Given the recorded runs, when their files are looked for, then each is there in each format."""
    wanted = {f"{story}.{format}" for story in STORIES for format in FORMATS}
    wanted |= {f"{story}.{format}.joined" for story in STORIES for format in BOTH}

    assert wanted <= {file.stem for file in GOLDEN.glob("*.txt")}


# -- joining


@pytest.mark.parametrize("story", STORIES)
def test_whoever_joins_an_agui_stream_anywhere_comes_to_the_same_messages(story):
    """Given a run, when clients join it after each of its events, then all keep to the protocol and end up with the
    same messages as the one that saw it from the start, the client's own among them.
    """
    from_the_start = agui(story)

    for until in range(2, len(STORIES[story]) + 1):
        assert agui(story, until=until).messages == from_the_start.messages, until
    assert from_the_start.messages["u1"] == EARLIER


@pytest.mark.parametrize("story", STORIES)
def test_whoever_joins_an_agui_stream_anywhere_knows_how_each_job_ended(story):
    """Given a run, when clients join it after each of its events, then all are told the last status of the same jobs,
    the run's own among them.
    """
    from_the_start = statuses(agui(story))

    for until in range(2, len(STORIES[story]) + 1):
        assert statuses(agui(story, until=until)) == from_the_start, until
    assert from_the_start[str(run_of(story))] in ("succeeded", "failed", "cancelled")


def statuses(client: AgUiClient) -> dict[str, str]:
    """Of each job, by the events that have one."""
    values = [event["value"] for event in client.events if event["type"] == "CUSTOM"]
    return {value["job"]: value["status"] for value in values if "status" in value}


@pytest.mark.parametrize("story", STORIES)
def test_whoever_resumes_a_vercel_stream_anywhere_comes_to_the_same_message(story):
    """Given a run, when clients resume it after each of its events, then all have the same message in the end."""
    from_the_start = vercel(story)

    for until in range(2, len(STORIES[story]) + 1):
        joined = vercel(story, until=until)
        assert (joined.id, joined.parts, joined.ending) == (
            str(run_of(story)),
            from_the_start.parts,
            from_the_start.ending,
        )


@pytest.mark.parametrize("format", BOTH)
def test_the_text_of_an_attempt_that_failed_within_a_message_is_not_there(format):
    """Given attempts that failed in the middle of a message, when the client has read the run, then what they began to
    say is gone, and what they had finished is there.
    """
    if format == "agui":
        said = [message["content"] for message in agui("retried").messages.values() if message.get("content")]
    else:
        said = [part["text"] for part in vercel("retried").parts.values() if "text" in part]

    assert [text for text in said if "attempt ended" not in text and text != "Where?"] == ["Once said.", "Hello"]


def test_an_attempt_that_says_the_same_under_the_same_name_takes_the_place_of_the_one_before():
    """Given a worker that names its message itself, when it is tried again after the message was whole, then the text
    is there once; and what one attempt says twice under a name is there twice.
    """
    spoken: list[Any] = [
        (2, "message.started", {"message": "mine"}),
        (2, "message.delta", {"message": "mine", "text": "Hello"}),
        (2, "message.completed", {"message": "mine"}),
    ]
    again: list[Any] = [(2, "job.started", {"attempt": number}) for number in (1, 2)]
    root: list[Any] = [(1, "job.queued", {"job_type": "talk"}), (2, "job.queued", {"job_type": "talk"})]
    end: list[Any] = [(1, "run.succeeded", {})]

    retried = AgUiClient().read(stream_of([*root, again[0], *spoken, again[1], *spoken, *end], "agui"))
    twice = AgUiClient().read(stream_of([*root, again[0], *spoken, *spoken, *end], "agui"))

    assert [message["content"] for message in retried.messages.values()] == ["Where?", "Hello"]
    assert [message["content"] for message in twice.messages.values()] == ["Hello", "Hello"]


# -- endings


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("until", [1, 3, 8])
def test_an_interrupted_stream_says_so(story, until):
    """Given a stream that ends before its run, when it is closed, then the last thing that it says is the error
    ``stream_interrupted``; closing it once more, or after the run's own end, says nothing.
    """
    for format, form in ((name, FORMATS[name](until)) for name in BOTH):
        said = form.frames(envelopes(STORIES[story])[:4]) + form.closing()
        last = json.loads(lines_of(said)[-1] if format == "agui" else lines_of(said)[-2])
        assert "stream_interrupted" in (last.get("code"), last.get("errorText"))
        assert form.is_over
        assert form.closing() == b""


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_that_ended_needs_no_other_end(format):
    """Given a run that is told to its end, when the stream is closed, then nothing is added."""
    form = FORMATS[format](1)
    form.frames(envelopes(STORIES["succeeded"]))

    assert form.is_over
    assert form.closing() == b""


def test_a_native_stream_that_is_cut_tells_when_to_come_back():
    """Given a native stream within its run, when it is closed, then it is a comment and ``retry:``, no event."""
    form = wire.Native()
    form.frames(envelopes(STORIES["succeeded"])[:3])

    assert form.closing().startswith(b": interrupted\nretry: ")


def test_done_is_for_vercel_alone():
    """Given all recorded runs, when they are told, then ``[DONE]`` ends each of Vercel's streams and is in no other."""
    for story in STORIES:
        assert told(story, "vercel").endswith(b"data: [DONE]\n\n")
        assert b"[DONE]" not in told(story, "agui") + told(story, "native")


def test_a_cancelled_run_is_an_error_to_clients_before_1_0():
    """Given a client that names no version of the protocol, when the run is cancelled, then it gets the error, since
    it does not know that outcome.
    """
    form = wire.AgUi(RUN, until=1)
    events = AgUiClient().read(form.frames(envelopes(STORIES["cancelled"]))).events

    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "cancelled")


# -- what may be in a stream


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_opens_with_comments_alone(format):
    """Given a format, when its stream opens, then no event is sent: some clients are only open once a byte has come."""
    assert [line for line in FORMATS[format](1).opening(0).decode().split("\n") if line][1:] != []
    assert all(line.startswith((":", "retry:")) for line in FORMATS[format](1).opening(0).decode().split("\n") if line)
    assert wire.KEEPALIVE.startswith(b":")


def test_what_the_protocols_have_no_word_for_is_told_all_the_same():
    """Given an application's own event, when it is told, then AG-UI has a CUSTOM of that name and Vercel a data part
    that no message keeps.
    """
    custom = [event for event in agui("succeeded").events if event.get("name") == "x.shop.greeted"]
    parts = [chunk for chunk in vercel("succeeded").transient if chunk["type"] == "data-x-shop-greeted"]

    assert [event["value"]["politely"] for event in custom] == [True]
    assert [chunk["data"]["politely"] for chunk in parts] == [True]


@pytest.mark.parametrize("format", BOTH)
def test_what_is_for_staff_is_told_to_staff_alone(format):
    """Given arguments, results and error texts, when a run is told, then only staff gets them."""
    for story, secret in (("succeeded", b'A-17\\"}'), ("failed", b"sk-123"), ("failed", b'\\"total\\":12')):
        if format == "vercel":
            secret = secret.replace(b"\\", b"")
        assert secret not in told(story, format)
        assert secret in told(story, format, is_staff=True)


@pytest.mark.parametrize("format", BOTH)
def test_a_name_cannot_end_a_line_and_an_id_holds_none(format):
    """Given names with CR, LF and NUL, when they are told, then no id holds one."""
    nasty = "a\r\nb\0c\n\ndata: {}"
    said: list[Any] = [
        (1, "job.queued", {"job_type": nasty}),
        (2, "job.queued", {"job_type": nasty}),
        (2, "job.started", {"attempt": 1}),
        (2, "message.delta", {"message": nasty, "text": "\0 \r\n\n data: x"}),
        (2, "tool.called", {"call": nasty, "name": nasty, "arguments": {}}),
        (1, "run.succeeded", {}),
    ]
    for line in lines_of(stream_of(said, format)):
        event = json.loads(line) if line != "[DONE]" else {}
        ids = [value for key, value in event.items() if key.lower().endswith("id") or key == "stepName"]
        assert not [id for id in ids if set(id) & set("\r\n\0")]


@pytest.mark.parametrize("format", FORMATS)
def test_a_character_beyond_the_first_plane_is_whole(format):
    """Given a text with such characters, when it is told, then they are UTF-8, and no half of a pair is anywhere."""
    stream = told("succeeded", format)

    assert "😀".encode() in stream
    assert b"\\ud83d" not in stream


def test_one_native_frame_serves_all_followers():
    """Given two followers of a run, when both are told an event, then it is encoded once."""
    first, second = (Native().frames(envelopes(STORIES["cancelled"])) for _ in range(2))
    assert first == second


# -- every stream there may be

TYPES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "message.started": st.fixed_dictionaries({"message": st.sampled_from("ab")}),
    "message.delta": st.fixed_dictionaries({"message": st.sampled_from("ab"), "text": st.text("xy😀\r\n", max_size=3)}),
    "message.completed": st.fixed_dictionaries({"message": st.sampled_from("ab")}),
    "thought.delta": st.fixed_dictionaries({"message": st.sampled_from("ab"), "text": st.text("z", max_size=2)}),
    "tool.called": st.fixed_dictionaries(
        {"call": st.sampled_from("cd"), "name": st.just("t"), "arguments": st.just({})}
    ),
    "tool.returned": st.fixed_dictionaries({"call": st.sampled_from("cd"), "name": st.just("t")}),
    "job.started": st.fixed_dictionaries({"attempt": st.integers(1, 3)}),
    "job.suspended": st.fixed_dictionaries({"reason": st.sampled_from(["children", "exhausted"])}),
    "job.queued": st.just({"job_type": "j"}),
    "job.succeeded": st.just({}),
    "usage.recorded": st.just({"step": "s"}),
    "x.shop.word": st.just({"a": None}),
}
SAID = st.lists(
    st.sampled_from(sorted(TYPES)).flatmap(lambda type: st.tuples(st.integers(2, 3), st.just(type), TYPES[type])),
    max_size=25,
)


@given(said=SAID, until=st.integers(1, 27))
def test_whatever_a_run_says_both_protocols_are_kept(said, until):
    """Given any order of events, also what no run of ours says, when it is told from anywhere, then AG-UI's rules are
    kept and every AG-UI client ends up with the texts of the one that saw all; Vercel's stream is one it can read.
    """
    story = [(1, "job.queued", {"job_type": "talk"}), *said, (1, "run.succeeded", {})]
    until = min(until, len(story))
    texts = [
        [message.get("content") for message in client.messages.values() if message["role"] == "assistant"]
        for client in (AgUiClient().read(stream_of(story, "agui", until=place)) for place in (1, until))
    ]
    assert texts[0] == texts[1]

    form = FORMATS["vercel"](until)
    assert VercelClient().read(form.frames(envelopes(story))).ending in ("finish", "stream_interrupted")
