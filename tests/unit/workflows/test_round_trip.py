"""Whatever can be loaded can be dumped, stored and loaded again, and is the same."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_ais.workflows import loader
from django_ais.workflows.diff import semantic_diff
from django_ais.workflows.loader import dump, load
from django_ais.workflows.spec import WorkflowSpec

TRICKY = st.sampled_from(
    [
        "no",
        "on",
        "1.10",
        "0o7",
        "1e3",
        "~",
        "null",
        "",
        " a ",
        "a: b",
        "a #b",
        "<<",
        "=",
        "- x",
        "|",
        "&a",
        "*a",
        "!t",
        "%x",
        "'",
        '"',
        "\\",
        "\n",
        "\n a",
        "a\n\n b\n",
        "a \nb",
        "\ta",
        "a\t",
        "\x85",
        "\u2028",
        "\ufeff",
        "日本",
        "😀",
        "$${{ x }}",
        "{{ x }}",
        "2026-11-22",
        "1:30",
        "0x1f",
        ".inf",
        "true",
        "True",
        "[a]",
        "{a}",
        ",",
        "? a",
        ": ",
        "---",
        "...",
        "a\r\nb",
    ]
)
TEXTS = TRICKY | st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0$"), max_size=30)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("in", "true", "false", "null")
)
SHORT = TEXTS.filter(lambda text: 0 < len(text) <= 100)
DURATIONS = st.sampled_from([1, 0.5, 300, "500ms", "30s", "5m", "2h", "1d", "1.5h"])
OWN_KEYS = st.dictionaries(st.sampled_from(["model", "x1", "no", "1.10"]), VALUES, max_size=2)
CONFIGS = st.builds(
    lambda ours, own: own | ours,
    st.fixed_dictionaries(
        {},
        optional={
            "max_retries": st.integers(0, 9),
            "timeout": st.none() | DURATIONS,
            "queue_timeout": st.none() | DURATIONS,
            "total_timeout": st.none() | DURATIONS,
            "backoff": st.fixed_dictionaries(
                {},
                optional={
                    "kind": st.sampled_from(["exponential", "constant"]),
                    "first": DURATIONS,
                    "jitter": st.just(True),
                },
            ),
            "retry_on": st.lists(SHORT, max_size=2),
            "no_retry_on": st.lists(SHORT, max_size=2),
            "on_exhausted": st.sampled_from(["fail", "suspend"]),
        },
    ),
    OWN_KEYS,
)
QUEUES = {"queue": st.none() | SHORT, "priority": st.none() | st.integers(-9, 9)}
LABELS = st.dictionaries(TEXTS, SCALARS.filter(lambda value: value is not None), max_size=2)


@st.composite
def documents(draw):
    """A workflow that has no problems, as its file's content."""
    ids = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    jobs = [draw(jobs_of(job_id, ids[:index])) for index, job_id in enumerate(ids)]
    top = st.fixed_dictionaries(
        {"name": st.sampled_from(["w", "no", "1.10", "document-intake"]), "jobs": st.just(jobs)},
        optional={
            "schema": st.just("ais/v1"),
            "version": st.sampled_from(["1", "1.10", "2.0.0-rc1", "no"]),
            "description": TEXTS,
            "labels": LABELS,
            "inputs": st.sampled_from(
                [{}, {"type": "object", "properties": {"a": {"type": "string", "default": "no"}}}]
            ),
            "defaults": st.fixed_dictionaries({}, optional={**QUEUES, "config": CONFIGS}),
            "outputs": VALUES,
            "x-free": VALUES,
        },
    )
    return draw(top)


def jobs_of(job_id, before):
    return st.fixed_dictionaries(
        {"type": SHORT.filter(lambda kind: kind not in ("approval", "workflow", "wait"))},
        optional={
            "id": st.just(job_id),
            "worker": SHORT,
            **QUEUES,
            "needs": st.just([]),
            "join": st.sampled_from(["all_succeeded", "none_failed", "any_succeeded", "all_done"]),
            "if": st.sampled_from([True, "1 == 1.0", "${{ run.id == '1' }}", "!has(inputs.a)"]),
            "foreach": st.fixed_dictionaries(
                {"in": st.lists(VALUES, max_size=2), "as": st.just("item")}, optional={"limit": st.integers(1, 9)}
            ),
            "with": VALUES,
            "config": CONFIGS,
            "outputs": st.dictionaries(TEXTS, st.sampled_from(["string", "any", {"type": "array"}]), max_size=2),
            "description": TEXTS,
            "labels": LABELS,
        },
    )


def loaded_from(document):
    """Load what the document says, written as JSON: every sign that could mean something to YAML is an escape."""
    text = json.dumps(document, ensure_ascii=False)
    return load(re.sub("[^ -~]", lambda sign: f"\\U{ord(sign.group()):08x}", text))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(documents())
def test_import_of_export_is_the_same(document):
    """Given any workflow without problems, when it is dumped and loaded by either loader, then it is the same."""
    loaded = loaded_from(document)
    assert loaded.errors == (), [problem.render() for problem in loaded.errors]
    spec = loaded.require()
    text = dump(spec)

    for yaml_loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loader, "YAML_LOADER", yaml_loader)
            again = load(text)
        assert again.spec == spec, (text, again.problems)
        assert again.require().digest() == spec.digest()
        assert semantic_diff(spec, again.require()) == []
    assert dump(load(text).require()) == text


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(documents())
def test_storing_and_reading_back_is_the_same(document):
    """Given any spec, when it goes through JSON as the database keeps it, then it is the same, digest included."""
    spec = loaded_from(document).require()
    again = WorkflowSpec.from_document(json.loads(json.dumps(spec.to_document())))

    assert again == spec
    assert again.digest() == spec.digest()


@given(
    st.text(max_size=200)
    | st.lists(TRICKY | st.sampled_from(["name: w\n", "jobs:\n", "  - type: T\n", "    if: "])).map("".join)
)
def test_any_text_is_loaded_or_has_problems(text):
    """Given any text, when loaded, then there is a spec or an error, and never an exception."""
    loaded = load(text)

    assert (loaded.spec is None) == bool(loaded.errors)
    for problem in loaded.problems:
        problem.render()
