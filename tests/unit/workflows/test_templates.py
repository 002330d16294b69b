"""Templates: JSON with expressions in its texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_ais.exceptions import ExpressionError
from django_ais.workflows.templates import parse_template, render, split, template_references

CONTEXT = {"inputs": {"n": 3, "ok": True, "list": [1], "text": "hi", "none": None, "evil": "${{ run.id }}"}}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${{ inputs.n }}", 3),
        ("${{ inputs.ok }}", True),
        ("${{ inputs.list }}", [1]),
        ("${{ inputs.none }}", None),
        ("  ${{ inputs.n }}\n", 3),
        ("${{inputs.n}}", 3),
        ("n is ${{ inputs.n }}", "n is 3"),
        ("${{ inputs.n }}${{ inputs.ok }}", "3true"),
        ("list ${{ inputs.list }}", "list [1]"),
        ("$${{ inputs.n }}", "${{ inputs.n }}"),
        ("$$${{ inputs.n }}", "$${{ inputs.n }}"),
        ("$${{ a }} and ${{ inputs.n }}", "${{ a }} and 3"),
        ("{{ inputs.n }} { } }} $ ${ {{", "{{ inputs.n }} { } }} $ ${ {{"),
        ("${{ '}}' + inputs.text }}", "}}hi"),
        ("${{ inputs.evil }}", "${{ run.id }}"),
        ("x ${{ inputs.evil }}", "x ${{ run.id }}"),
        (
            {"a": ["${{ inputs.n }}", {"b": "${{ inputs.text }}!"}], "c": 1, "d": None},
            {"a": [3, {"b": "hi!"}], "c": 1, "d": None},
        ),
        ({"${{ inputs.n }}": 1}, {"${{ inputs.n }}": 1}),
        ("", ""),
        (True, True),
    ],
)
def test_rendering(template, value):
    """Given a template, when it is rendered, then a whole expression keeps its type and mixed text becomes text."""
    result = render(template, CONTEXT)

    assert result == value
    assert type(result) is type(value)
    assert parse_template(template).render(CONTEXT) == value


def test_null_has_no_text():
    """Given a null, when it stands in mixed text, then it is an error instead of the word null."""
    with pytest.raises(ExpressionError, match="null has no text"):
        render("Dear ${{ inputs.none }}", CONTEXT)


def test_values_that_nest_without_end_have_no_text():
    """Given a value of very many lists, when it stands in mixed text, then the error is ours."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ExpressionError, match="nests too deeply"):
        render("x ${{ deep }}", {"deep": deep})
    while deep:  # freed step by step: Python's own release would recurse
        deep = deep.pop()  # type: ignore[assignment]


def test_an_error_names_the_place_in_the_template():
    """Given a template with a missing field deep inside, when rendered, then the error says where."""
    with pytest.raises(ExpressionError, match=r"there is no field 'nope' \(in a\[1\]\.b\)") as caught:
        render({"a": [0, {"b": "x ${{ inputs.nope }}"}]}, CONTEXT)

    assert caught.value.position == 13


@pytest.mark.parametrize(
    ("text", "rule", "position"),
    [
        ("a ${{ inputs.n", "X212", 2),
        ("a ${{ inputs.n }", "X212", 2),
        ("${{ 'open }}", "X200", 4),
        ("${{ }}", "X200", 3),
        ("ab ${{ 1 = 2 }}", "X200", 9),
        ("${{ 1 }}" * 65, "X207", 0),
    ],
)
def test_templates_are_refused_when_they_are_parsed(text, rule, position):
    """Given a broken template, when it is parsed, then the error counts positions in the whole text."""
    with pytest.raises(ExpressionError) as caught:
        parse_template({"x": text})

    assert (caught.value.rule, caught.value.position) == (rule, position)


def test_references_of_a_template():
    """Given a template, when asked what it reads, then the paths of all its texts are named."""
    references = template_references({"a": "${{ inputs.n }} and ${{ jobs.ocr.outputs }}", "b": ["$${{ run.id }}"]})

    assert [(reference.path, reference.position) for reference in references] == [
        (("inputs", "n"), 4),
        (("jobs", "ocr", "outputs"), 24),
    ]


PIECES = st.sampled_from(["${{", "$${{", "}}", "{{", "$", "'", '"', "\\", " ", "inputs", ".n", "1", "+", "\n"])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_rendered_or_refused(text):
    """Given any text full of signs, when it is rendered, then nothing but an ExpressionError comes out."""
    try:
        render(text, CONTEXT)
    except ExpressionError:
        return
    if "${{" not in text:
        assert render(text, CONTEXT) == text


@given(st.text())
def test_escaped_text_comes_back(text):
    """Given any text, when its signs are escaped, then rendering gives it back."""
    text = text.replace("$", "")
    template = f"{text}$${{{{{text}"

    assert render(template, {}) == f"{text}${{{{{text}"
    assert all(isinstance(piece, str) for piece in split(template))
