"""Starts of workflows that cannot be: the error names workflow, version or input, and nothing is written."""

from __future__ import annotations

import pytest

from django_ais import jobs
from django_ais.exceptions import (
    DispatchError,
    WorkflowInputError,
    WorkflowNotFoundError,
)
from django_ais.runtime import catalog
from django_ais.workflows.loader import load
from tests.harness.wording import words

pytestmark = pytest.mark.django_db


WORKFLOW = """
name: greeting
inputs:
  type: object
  required: [name]
  properties: {name: {type: string}}
jobs:
  - type: echo
"""


@pytest.fixture
def greeting(settings):
    return catalog.store(load(WORKFLOW).require(), source=WORKFLOW).workflow


def test_an_unknown_workflow_is_refused_with_the_nearest_one(greeting, nothing_written):
    """Given a slip of the pen, when started, then the error suggests the workflow that was meant and how to import."""
    with pytest.raises(WorkflowNotFoundError, match=words("'greting'", "Did you mean 'greeting'?", "import_workflow")):
        jobs.start("greting", {"name": "Ann"})


def test_an_unknown_version_is_refused(greeting, nothing_written):
    """Given a workflow, when a version that was never imported is started, then the error names name and version."""
    with pytest.raises(WorkflowNotFoundError, match=words("'greeting@7'", "Imported: greeting")):
        jobs.start("greeting@7", {"name": "Ann"})


INPUTS = {
    "missing": ({}, words("inputs", "'greeting'", "name", "required")),
    "of the wrong type": ({"name": 5}, words("'greeting'", "name", "string")),
    "no object": (["Ann"], words("'greeting'", "object", "list")),
}


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_do_not_fit_are_refused(case, greeting, nothing_written):
    """Given a workflow's `inputs`, when a start does not fit them, then the error names the workflow and the input."""
    inputs, message = INPUTS[case]

    with pytest.raises(WorkflowInputError, match=message):
        jobs.start("greeting", inputs)


@pytest.mark.parametrize("name", [None, 5, "a\0", "a\ud800"])
def test_a_workflow_that_is_no_name_is_refused(name, nothing_written):
    """Given something that is no name, when started, then the error says so."""
    with pytest.raises(DispatchError, match=words("workflow", "text")):
        jobs.start(name)
