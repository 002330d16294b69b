"""Reading files: the first example, YAML's traps, every problem at once, and files meant to hurt."""

from __future__ import annotations

import time
from textwrap import dedent

import pytest
import yaml

from django_ais.exceptions import WorkflowInvalidError
from django_ais.workflows import loader
from django_ais.workflows.loader import dump, load
from django_ais.workflows.schemas import WorkerInfo

FIRST_EXAMPLE = """\
name: document_summarizer
version: "1.0"
jobs:
  - type: SUMMARIZE
    worker: your_app.workers.SummarizationWorker
    config:
      max_retries: 3
      timeout: 300
"""
PAGES = {
    "type": "object",
    "properties": {"pages": {"type": "array", "items": {"$ref": "#/$defs/Page"}}},
    "$defs": {"Page": {"type": "object", "properties": {"text": {"type": "string"}}}},
}
WORKERS = {
    name: WorkerInfo(
        name, f"shop.workers.{name.title().replace('.', '')}", output_schema=PAGES if "ocr" in name else None
    )
    for name in ("documents.ocr", "documents.merge", "classify")
}
LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if hasattr(yaml, "CSafeLoader") else [])]


@pytest.fixture(params=LOADERS, ids=lambda loader_class: loader_class.__name__, autouse=True)
def each_loader(request, monkeypatch):
    """Every test of this module runs on PyYAML's pure loader and on its C one."""
    monkeypatch.setattr(loader, "YAML_LOADER", request.param)


def job(line, head=""):
    return f"name: w\n{head}jobs:\n  - type: T\n    {line}\n"


def codes(text, workers=None):
    return [problem.code for problem in load(text, workers=workers).problems]


def test_the_first_example_loads_unchanged():
    """Given the first example that users see, when it is loaded, then there is nothing to complain about."""
    workers = {"summarize": WorkerInfo("summarize", "your_app.workers.SummarizationWorker")}
    loaded = load(FIRST_EXAMPLE, workers=workers)

    assert loaded.problems == ()
    spec = loaded.require()
    assert (spec.name, spec.version, spec.jobs[0].id) == ("document_summarizer", "1.0", "SUMMARIZE")
    assert spec.jobs[0].worker == "your_app.workers.SummarizationWorker"
    assert (spec.jobs[0].config.max_retries, spec.jobs[0].config.timeout) == (3, 300.0)


def test_a_full_workflow_is_read_into_a_spec():
    """Given every key that this version knows, when loaded, then the spec says the same with defaults merged."""
    spec = load(
        dedent("""\
            schema: ais/v1
            name: document-intake
            version: 2.1.0
            description: Read and file.
            labels: {team: back-office, tier: 1}
            x-anything: [goes]
            inputs: {type: object, properties: {document_id: {type: string}}}
            defaults:
              queue: slow
              priority: 3
              config: {timeout: 2m, max_retries: 2, model: small}
            jobs:
              - id: ocr
                type: documents.ocr
                queue: cpu
                with: {document: "${{ inputs.document_id }}"}
                config: {timeout: 1.5h, retry_on: [TimeoutError], backoff: {kind: constant, first: 500ms}}
                outputs: {pages: array}
              - type: classify
                if: size(jobs.ocr.outputs.pages) > 0
                foreach: {in: "${{ jobs.ocr.outputs.pages }}", as: page, limit: 8, on_item_failure: collect}
                with: {text: "${{ page.text }}", n: "${{ loop.index }}"}
                priority:
              - type: classify
                needs: [ocr, classify]
                join: any_succeeded
            outputs: {pages: "${{ jobs.ocr.outputs.pages }}", kinds: "${{ jobs.classify.outputs }}"}
        """)
    ).require()
    ocr, classify, again = spec.jobs

    assert (ocr.needs, classify.needs, again.needs) == ((), ("ocr",), ("ocr", "classify"))
    assert [job.id for job in spec.jobs] == ["ocr", "classify", "classify_2"]
    assert (ocr.queue, classify.queue, ocr.priority, classify.priority) == ("cpu", "slow", 3, None)
    assert (ocr.config.timeout, classify.config.timeout, ocr.config.max_retries) == (5_400.0, 120.0, 2)
    assert ocr.config.extra == {"model": "small"}
    assert (ocr.config.backoff.kind, ocr.config.backoff.first) == ("constant", 0.5)
    assert ocr.config.retry_policy().retry_on == ("TimeoutError",)
    assert classify.if_ == "size(jobs.ocr.outputs.pages) > 0"
    assert classify.foreach is not None
    assert (classify.foreach.as_, classify.foreach.limit, classify.foreach.max_items) == ("page", 8, 1_000)
    assert again.join == "any_succeeded"
    assert spec.labels == {"team": "back-office", "tier": 1}


def test_all_problems_come_at_once_with_places_and_hints():
    """Given a file with many mistakes, when loaded, then each is shown with line, column, caret and a way out."""
    loaded = load(
        dedent("""\
            name: broken
            version: 1.10
            inputs: {type: object, properties: {document_id: {type: string}}}
            jobs:
              - id: ocr
                type: ocr
                worker: documents.orc
                config:
                  max_retrys: 1
                  timeout: 5 mins
                outputs: {pages: array}
              - id: merge
                type: documents.merge
                needs: [orc]
                with: {pages: "${{ jobs.ocr.outputs.page }}", id: "${{ inputs.document_idd }}"}
        """),
        file="broken.yaml",
        workers=WORKERS,
    )

    assert loaded.spec is None
    assert "\n".join(problem.render() for problem in loaded.problems) == dedent("""\
        broken.yaml:2:10: info[ais.W110]: version read as the text "1.10"
             2 | version: 1.10
               |          ^ quote it to keep other YAML tools from reading it as a number
        broken.yaml:7:13: error[ais.W130]: no worker is registered as 'documents.orc'
             7 |     worker: documents.orc
               |             ^ did you mean 'documents.ocr'?
        broken.yaml:9:7: warning[ais.W102]: unknown key 'max_retrys' in config is not checked: it is no key of ours
             9 |       max_retrys: 1
               |       ^ did you mean 'max_retries'?
        broken.yaml:10:16: error[ais.W140]: '5 mins' is not a duration
            10 |       timeout: 5 mins
               |                ^ write seconds (300) or 500ms, 30s, 5m, 2h, 1d; at most 3650d
        broken.yaml:14:13: error[ais.W121]: job 'merge' needs 'orc', which is not a job here
            14 |     needs: [orc]
               |             ^ did you mean 'ocr'?
        broken.yaml:15:24: error[ais.X204]: job 'merge' reads 'ocr' but does not wait for it
            15 |     with: {pages: "${{ jobs.ocr.outputs.page }}", id: "${{ inputs.document_idd }}"}
               |                        ^ add 'ocr' to needs of 'merge'
        broken.yaml:15:41: error[ais.X205]: job 'ocr' declares no output 'page'
            15 |     with: {pages: "${{ jobs.ocr.outputs.page }}", id: "${{ inputs.document_idd }}"}
               |                                         ^ did you mean 'pages'?
        broken.yaml:15:67: error[ais.X202]: the workflow has no input 'document_idd'
            15 |     with: {pages: "${{ jobs.ocr.outputs.page }}", id: "${{ inputs.document_idd }}"}
               |                                                                   ^ did you mean 'document_id'?""")


def test_require_raises_everything_that_was_found():
    """Given a broken file, when the spec is required, then the error carries the problems and shows them."""
    with pytest.raises(
        WorkflowInvalidError, match=r"f\.yaml:1:1: error\[ais\.W105\]: the workflow has no 'jobs'"
    ) as caught:
        load("name: w", file="f.yaml").require()

    assert [problem.code for problem in caught.value.problems] == ["W105"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1_000", "1_000"),
        ("2026-11-22", "2026-11-22"),
        ("=", "="),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        ("~", None),
        ("", None),
        ("NULL", None),
        ("True", True),
        ('"1"', "1"),
        ("'true'", "true"),
        ("!!str 1", "1"),
        ("|\n      a\n      b\n", "a\nb\n"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    """Given a plain or quoted scalar, when loaded by either loader, then YAML 1.2's core schema decides."""
    spec = load(job(f"with: {{v: {text}}}" if "\n" not in text else f"with:\n     v: {text}")).require()

    assert spec.jobs[0].with_ == {"v": value}
    assert type(spec.jobs[0].with_["v"]) is type(value)


def test_the_key_on_is_text():
    """Given a key that YAML 1.1 reads as true, when loaded, then it is a key like any other."""
    assert load(job("with: {on: 1, no: 2, y: 3}")).require().jobs[0].with_ == {"on": 1, "no": 2, "y": 3}


def test_anchors_work_and_are_values():
    """Given an anchor used twice, when loaded, then both places hold equal values that share nothing."""
    text = "name: w\nx-c: &c {timeout: 5s, own: [1]}\njobs:\n  - {type: A, config: *c}\n  - {type: B, config: *c}\n"
    first, second = load(text).require().jobs

    assert first.config == second.config
    assert first.config.extra["own"] is not second.config.extra["own"]


def test_a_mistake_behind_an_alias_is_reported_once():
    """Given a wrong value that is used twice, when loaded, then it is one problem, at the anchor."""
    text = "name: w\nx-c: &c {timeout: soon}\njobs:\n  - {type: A, config: *c}\n  - {type: B, config: *c}\n"

    assert [(problem.line, problem.code) for problem in load(text).problems] == [(2, "W140")]


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("inputs.a == 1", "inputs.a == 1"),
        ('"${{ inputs.a == 1 }}"', "inputs.a == 1"),
        ("True", "true"),
        ("'inputs.a == \"it''s\"'", 'inputs.a == "it\'s"'),
        (">-\n      inputs.a\n      && inputs.b", "inputs.a && inputs.b"),
    ],
)
def test_conditions_are_kept_as_expression_text(condition, text):
    """Given an `if` with or without braces, when loaded, then the spec holds the expression alone."""
    assert load(job(f"if: {condition}")).require().jobs[0].if_ == text


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("if: inputs.a = 1", (4, 18)),
        ('if: "inputs.a = 1"', (4, 19)),
        ("if: ${{ inputs.a = 1 }}", (4, 22)),
        ("with: x ${{ 1 }} ${{ a = 1 }}", (4, 28)),
        ("with: 'it''s ${{ 1 }} $${{ ${{ a = 1 }}'", (4, 38)),
        ('with: "\\n${{ a = 1 }}"', (4, 20)),
        ("with: |\n      first\n      ${{ a = 1 }}", (6, 13)),
        ('with: "${{ \\x61 = 1 }}"', (4, 15)),
        ("with: >\n      ${{ a\n      = 1 }}", (5, 10)),
    ],
)
def test_carets_point_into_the_expression(line, place):
    """Given a mistake inside quotes, escapes or folded lines, when shown, then the caret stands as near as can be."""
    problem = next(problem for problem in load(job(line)).problems if problem.code == "X200")

    assert (problem.line, problem.column) == place


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("queue: ${{ inputs.q }}", "X210"),
        ("worker: ${{ inputs.q }}", "X210"),
        ("join: ${{ inputs.q }}", "X210"),
        ("priority: ${{ inputs.q }}", "X210"),
        ("needs: ['${{ inputs.q }}']", "X210"),
        ("config: {timeout: '${{ inputs.q }}'}", "X210"),
        ("config: {max_retries: '${{ inputs.q }}'}", "X210"),
        ("config: {own: [{deep: '${{ inputs.q }}'}]}", "X210"),
        ("with: {'${{ inputs.q }}': 1}", "X210"),
        ("outputs: {a: '${{ inputs.q }}'}", "W115"),
        ("foreach: {in: inputs.pages, as: page}", "W104"),
        ("foreach: {in: 'x ${{ inputs.pages }}', as: page}", "W104"),
        ("foreach: {in: [1], as: inputs}", "W112"),
        ("foreach: {in: [1]}", "W105"),
        ("if: '${{ inputs.a }} && ${{ inputs.b }}'", "X200"),
        ("if: \"'yes'\"", "X211"),
        ("if: 1", "W104"),
        ("if: ''", "X200"),
        ("needs:", "W104"),
        ("id: in", "W112"),
        ("id: 9a", "W112"),
        ("labels: {a: [1]}", "W104"),
        ("labels: {a: }", "W104"),
        ("config: {max_retries: 1.5}", "W104"),
        ("config: {max_retries: true}", "W104"),
        ("config: {timeout: 0}", "W140"),
        ("config: {timeout: -1}", "W140"),
        ("config: {timeout: true}", "W104"),
        ("config: {timeout: 99999d}", "W140"),
        ("config: {backoff: {jitter: false}}", "W113"),
        ("config: {backoff: {kind: linear}}", "W113"),
        ("config: {timeout: {}}", "W104"),
        ("config: {on_exhausted: stop}", "W113"),
        ("config: {rate_limit: 3}", "W150"),
        ("config: []", "W104"),
        ("outputs: {a: strng}", "W115"),
        ("outputs: {a: {type: strng}}", "W115"),
        ("foreach: {in: [1], as: page, max_items: 0}", "W114"),
        ("queue: ''", "W112"),
        ("queue: 5", "W104"),
    ],
)
def test_mistakes_in_a_job(line, code):
    """Given one mistake in a job, when loaded, then it is reported, and nothing else with it."""
    assert codes(job(line)) == [code]


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("inputs: {$ref: 'http://127.0.0.1:9/x'}\n", "W115"),
        ("inputs: {$schema: 'http://127.0.0.1:9/x'}\n", "W115"),
        ("inputs: {properties: {a: {$ref: 'file:///etc/passwd'}}}\n", "W115"),
        ("inputs: {type: strng}\n", "W115"),
        ("inputs: {type: array}\n", "W115"),
        ("inputs: {properties: {a: {type: string, default: 3}}}\n", "W115"),
        ("inputs: {properties: {a: {type: string, pattern: '(?=x)'}}}\n", "W115"),
        ("inputs: {properties: {a: {default: '${{ run.id }}'}}}\n", "X210"),
        ("inputs: []\n", "W104"),
        ("defaults: {timeout: 3}\n", "W101"),
        ("defaults: {config: {timeout: soon}}\n", "W140"),
        ("description: [a]\n", "W104"),
        ("outputs: ${{ jobs.nope.outputs }}\n", "X203"),
        ("outputs: ${{ loop.index }}\n", "X209"),
        ("version: a b\n", "W112"),
        ("triggers: {}\n", "W150"),
    ],
)
def test_mistakes_beside_the_jobs(head, code):
    """Given one mistake at the top, when loaded, then it is reported, and nothing else with it."""
    assert codes(f"name: w\n{head}jobs: [{{type: T}}]\n") == [code]


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("jobs.ocr.outputs.pages[0].text", None),
        ("jobs.ocr.outputs.pages[0].txt", "X205"),
        ("jobs.ocr.outputs.pages.text", "X205"),
        ("jobs.ocr.outputs['pages']", None),
        ("jobs['ocr'].outputs.page", "X205"),
        ("default(jobs.ocr.outputs.page, 1)", "X205"),
        ("has(inputs.anything)", None),
        ("jobs.ocr.status", None),
        ("jobs.ocr.status.x", "X206"),
        ("jobs.ocr.pages", "X206"),
        ("jobs.ocr", "X206"),
        ("jobs", "X203"),
        ("jobs[inputs.id].outputs", "X203"),
        ("jobs.ocr[inputs.id]", "X206"),
        ("jobs.each.outputs[0].pages", None),
        ("jobs.each.outputs[0].pages[0].txt", "X205"),
        ("jobs.each.outputs.pages", "X205"),
        ("jobs.last.outputs", "X204"),
        ("jobs.later.outputs", "X204"),
        ("run.id", None),
        ("run.name", "X206"),
        ("run", "X206"),
        ("failure.code", "X209"),
        ("page", "X201"),
        ("loop.index", "X209"),
        ("True", "X201"),
        ("ocr.outputs", "X201"),
    ],
)
def test_every_reference_is_resolved(expression, code):
    """Given an expression in a job, when loaded, then each name in it exists and has ended before the job starts."""
    text = dedent("""\
        name: w
        jobs:
          - {id: ocr, type: documents.ocr}
          - {id: each, type: documents.ocr, foreach: {in: "${{ jobs.ocr.outputs.pages }}", as: page}}
          - {id: last, type: classify, with: "${{ EXPRESSION }}"}
          - {id: later, type: classify}
    """).replace("EXPRESSION", expression)

    assert codes(text, WORKERS) == ([code] if code else [])


@pytest.mark.parametrize(
    ("expression", "code"),
    [("page", None), ("page.text", None), ("loop.index", None), ("loop.first", "X206"), ("loop", "X206")],
)
def test_items_are_known_inside_their_job(expression, code):
    """Given a job with `foreach`, when its `with` reads the item, then that is known there."""
    text = job(f"foreach: {{in: [1], as: page}}\n    with: ${{{{ {expression} }}}}")

    assert codes(text) == ([code] if code else [])


def test_items_are_unknown_in_the_condition_of_their_job():
    """Given a job with `foreach`, when its `if` reads the item, then it is told that `if` comes first."""
    problem = load(job("foreach: {in: [1], as: page}\n    if: page == 1")).problems[0]

    assert (problem.code, problem.hint) == ("X209", "'if' and 'in' are evaluated once, before the items")


def test_outputs_are_checked_against_the_model_of_the_worker():
    """Given a worker with an output model, when a job declares another output, then it is an error."""
    for more in ("", ", foreach: {in: [1], as: page}"):
        text = f"name: w\njobs: [{{type: documents.ocr, outputs: {{page: array}}{more}}}]"
        assert codes(text, WORKERS) == ["X205"]
    assert codes("name: w\njobs: [{type: documents.ocr, outputs: {pages: array}}]", WORKERS) == []


def test_config_is_checked_where_the_worker_declares_a_model():
    """Given a worker with a config model, when a key or value does not fit, then it is an error with a suggestion."""
    schema = {"type": "object", "properties": {"model": {"type": "string"}}, "required": ["model"]}
    workers = {"T": WorkerInfo("T", "a.T", config_schema=schema)}

    def found(line):
        return [(problem.code, problem.severity, problem.hint) for problem in load(job(line), workers=workers).problems]

    assert found("config: {model: small, timeout: 5}") == []
    assert found("config: {model: a, modle: b}") == [("W101", "error", "did you mean 'model'?")]
    assert found("config: {model: 3}")[0][:2] == ("W103", "error")
    assert found("config: {}")[0][:2] == ("W103", "error")
    broken_workers = {"T": WorkerInfo("T", "a.T", config_schema={"type": "strng"})}
    assert load(job("config: {model: a}"), workers=broken_workers).problems == ()
    open_workers = {"T": WorkerInfo("T", "a.T")}
    assert [problem.code for problem in load(job("config: {model: a}"), workers=open_workers).problems] == ["W102"]
    assert load(job("config: {model: a}"), workers=open_workers).spec is not None
    assert load(job("config: {model: a}")).problems == ()


def test_a_job_overrides_the_defaults_key_by_key():
    """Given the same key in the defaults and in a job, when loaded, then the job's value holds, for any key."""
    defaults = "defaults: {config: {timeout: 2, model: a, size: 1}}\n"
    config = load(job("config: {timeout: 1, model: b}", defaults)).require().jobs[0].config

    assert (config.timeout, config.extra) == (1.0, {"model": "b", "size": 1})


def test_a_condition_of_several_expressions_is_told_how_to_be_one():
    """Given an `if` with two pairs of braces, when loaded, then it is told to do without."""
    problem = load(job("if: '${{ inputs.a }} && ${{ inputs.b }}'")).problems[0]

    assert problem.message == "an expression holds no '${{ }}' of its own"


def test_other_words_beside_properties_are_free():
    """Given a schema with an annotation that JSON Schema does not know, when loaded, then that is nobody's mistake."""
    assert codes(job("", "inputs: {properties: {a: {}}, example: {a: 1}}\n")) == []


@pytest.mark.parametrize("kind", ["approval", "workflow", "wait"])
def test_built_in_types_are_refused_until_they_run(kind):
    """Given a type or worker whose run-time support comes later, when loaded, then it is refused in so many words."""
    for text in (f"name: w\njobs: [{{type: {kind}}}]", f"name: w\njobs: [{{type: T, worker: ais.{kind}}}]"):
        problem = load(text).problems[0]
        assert problem.code == "W150"
        assert problem.message == f"'type: {kind}' is not supported yet by this version"


def test_no_value_means_no_limit():
    """Given a time limit without a value, when loaded, then there is no limit, whatever the defaults say."""
    text = "name: w\ndefaults: {config: {timeout: 5}}\njobs: [{type: T}, {type: T, config: {timeout: }}]"
    first, second = load(text).require().jobs

    assert (first.config.timeout, second.config.timeout) == (5.0, None)


def test_another_format_version_is_all_that_is_said():
    """Given a file for another version, when loaded, then nothing else in it is judged."""
    assert codes("schema: ais/v2\nnonsense: 1\njobs: 7") == ["W100"]


def test_cycles_are_named():
    """Given jobs in a circle, when loaded, then the error shows the way round, once."""
    text = "name: w\njobs:\n  - {id: a, type: T, needs: [c]}\n  - {id: b, type: T}\n  - {id: c, type: T}\n"
    problem = load(text).problems[0]

    assert problem.message == "jobs wait for one another: a -> c -> b -> a"
    assert (problem.line, problem.column) == (3, 30)


def test_two_jobs_of_one_id_are_one_problem():
    """Given an id used twice in a row, when loaded, then no circle is invented from it."""
    assert codes("name: w\njobs:\n  - {id: a, type: T}\n  - {id: a, type: T}\n") == ["W120"]


def test_made_ids_are_unique_and_readable():
    """Given jobs without ids, when loaded, then ids come from types and avoid the ids that are given."""
    text = (
        "name: w\njobs: [{type: a b}, {type: a b}, {id: a_b_2, type: x}, {type: 9}, {type: '9'}, {type: in}]".replace(
            "{type: 9}, ", ""
        )
    )

    assert [spec_job.id for spec_job in load(text).require().jobs] == ["a_b", "a_b_3", "a_b_2", "_9", "_in"]


ATTACKS = {
    "brackets": ("W106|W108", "[" * 100_000),  # libyaml may have a limit of its own, by its release
    "dashes": ("W108", "- " * 100_000),
    "mappings": ("W108", "{a: " * 50_000),
    "depth by aliases": ("W108", f"x-a: &a {'[' * 20}{']' * 20}\nx-b: {'[' * 20}*a{']' * 20}"),
    "questions": ("W109", "? " * 50_000),
    "quotes": ("W106", '"' * 300_000),
    "laughs": (
        "W108",
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    ),
    "a large text, often": ("W108", f"x-a: &a {'y' * 500_000}\nx-b: [{'*a,' * 5_000}]"),
    "an anchor in itself": ("W109", "a: &a [*a]"),
    "a python object": ("W109", "name: w\nx-a: !!python/object/apply:os.system [id]\njobs: [{type: T}]"),
    "a python name": ("W109", "name: w\nx-a: !!python/name:os.system x\njobs: [{type: T}]"),
    "NUL": ("W106", "name: \0"),
    "an escaped NUL": ("W111", 'name: w\nx-a: "\\0"\njobs: [{type: T}]'),
    "half a pair": ("W106", "name: \ud800"),
    "no UTF-8": ("W106", b"name: \xff\xfe"),
    "empty": ("W105", ""),
    "a comment": ("W105", "# nothing"),
    "a list": ("W104", "[]"),
    "a number": ("W104", "5"),
    "two documents": ("W109", "name: w\njobs: [{type: T}]\n---\nname: b"),
    "a key that is a list": ("W109", "[a]: b"),
    "a key that is an alias": ("W109", "x: &a b\n*a : c"),
    "a key that is a number": ("W109", "name: w\njobs: [{type: T, with: {1: 2}}]"),
    "an alias of nothing": ("W109", "a: *b"),
    "many digits": ("W111", f"name: w\nx-a: {'9' * 5_000}\njobs: [{{type: T}}]"),
    "a long hexadecimal": ("W111", f"name: w\nx-a: 0x{'f' * 100_000}\njobs: [{{type: T}}]"),
    "64 bits and one": ("W111", "name: w\nx-a: 9223372036854775808\njobs: [{type: T}]"),
    "a long exponent": ("W111", f"name: w\nx-a: 1e{'9' * 1000}\njobs: [{{type: T}}]"),
    "too many values": ("W108", f"name: w\nx-a: [{'1,' * 10_001}]\njobs: [{{type: T}}]"),
    "too large": ("W108", "name: w\njobs: [{type: T}]\n" + "#" * 1_000_001),
    "another YAML": ("W106", "%YAML 9.9\n---\nname: w"),
    "a deep expression": ("X207", job(f"if: {'(' * 900}1{')' * 900}")),
    "many expressions": ("X207", job(f"with: '{'${{ 1 }}' * 5_000}'")),
    "a slow pattern": ("W115", job("", "inputs: {properties: {a: {pattern: '((a{1,999}){1,999}){1,999}'}}}\n")),
}


@pytest.mark.parametrize(("code", "attack"), ATTACKS.values(), ids=ATTACKS)
def test_attacks_end_in_problems(code, attack):
    """Given a file meant to hurt, when loaded, then there is the one problem to show, and nothing worse."""
    loaded = load(attack, file="attack.yaml")

    assert loaded.spec is None
    (found,) = {problem.code for problem in loaded.problems}
    assert found in code.split("|")
    for problem in loaded.problems:
        assert len(problem.render()) < 2_000
        assert problem.render().count("\n") == 2
        assert problem.to_dict()["line"] == problem.line >= 1


def test_an_alias_inside_its_own_anchor_is_told_from_an_unknown_one():
    """Given an alias without a value, when loaded, then the message says which of the two mistakes it is."""
    assert load("a: &a [*a]").problems[0].message == "this alias stands inside its own anchor"
    assert load("a: &page 1\nb: *pgae").problems[0].hint == "did you mean 'page'?"


@pytest.mark.parametrize(
    "schema", ['{$ref: "#"}', '{allOf: [{$ref: "#"}]}', '{properties: {a: {$ref: "#/properties/a"}}}']
)
def test_schemas_that_refer_to_themselves_end(schema):
    """Given a schema in a circle, when loaded and read through an expression, then it ends."""
    assert codes(job("with: ${{ inputs.a.b.c }}", f"inputs: {schema}\n")) in ([], ["X202"])


def test_thousands_of_problems_stop_at_a_thousand():
    """Given more problems than anybody reads, when loaded, then a thousand are shown."""
    text = "name: w\njobs:\n" + "".join(f"  - {{type: T, nedes{n}: 1}}\n" for n in range(3_000))

    assert len(load(text).problems) == 1_000


def test_nothing_in_a_message_can_move_the_cursor():
    """Given control characters in names, when shown on a terminal, then they are not sent there."""
    loaded = load('name: w\njobs: [{type: T, "\\e[31mred\\u202e": 1, "\u202e": 2}]')

    assert len(loaded.problems) == 2
    for problem in loaded.problems:
        assert problem.render().replace("\n", "").isprintable()


def test_the_caret_stands_below_its_sign():
    """Given wide characters, tabs and long lines in front of a problem, when shown, then the caret is moved along."""
    wide = load('name: w\njobs: [{description: "日本", typ: x, type: T}]').problems[0].render().splitlines()
    assert wide[2].index("^") == wide[1].index("typ") + 2
    long = load(f'name: w\njobs: [{{description: "{"x" * 5_000}", typ: x, type: T}}]').problems[0].render().splitlines()
    assert long[1][long[2].index("^") :].startswith("typ:")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + FIRST_EXAMPLE,
        FIRST_EXAMPLE.encode(),
        b"\xef\xbb\xbf" + FIRST_EXAMPLE.encode(),
        FIRST_EXAMPLE.replace("\n", "\r\n"),
    ],
)
def test_bytes_marks_and_line_ends_do_not_matter(text):
    """Given the same file as bytes, with a mark in front or other line ends, when loaded, then it is the same."""
    assert load(text).require() == load(FIRST_EXAMPLE).require()


@pytest.mark.parametrize("text", ["\ufefftyp: 1", "\ufefftyp: 1".encode()])
def test_a_byte_order_mark_moves_no_caret(text):
    """Given a byte order mark, when a problem stands in the first line, then its column does not count the mark."""
    assert {problem.column for problem in load(text).problems} == {1}
    assert {problem.source for problem in load(text).problems} == {"typ: 1"}


def test_five_hundred_jobs_are_checked_quickly(capsys):
    """Given 3,000 lines with 500 jobs, when loaded, then it takes a fraction of a second of processor."""
    lines = ["name: big", "inputs: {type: object, properties: {document_id: {type: string}}}", "jobs:"]
    for number in range(500):
        before = f"jobs.job_{number - 1}.outputs.pages[0].text" if number else "'x'"
        lines += [
            f"  - id: job_{number}",
            "    type: documents.ocr",
            f"    needs: [{f'job_{number - 1}' if number else ''}]",
            f'    with: {{document: "${{{{ inputs.document_id }}}}", page: "${{{{ {before} }}}}"}}',
            "    config: {max_retries: 2, timeout: 5m}",
            "    outputs: {pages: array}",
        ]
    start = time.thread_time()
    loaded = load("\n".join(lines), workers=WORKERS)
    seconds = time.thread_time() - start

    with capsys.disabled():
        print(f"\n{loader.YAML_LOADER.__name__}: 500 jobs in {seconds:.3f} s")
    assert loaded.problems == ()
    assert seconds < 2.0


def test_dumping_the_first_example():
    """Given a spec, when dumped, then the text is short, in the documented order, and means the same."""
    text = dump(load(FIRST_EXAMPLE).require())

    assert text == dedent("""\
        schema: ais/v1
        name: document_summarizer
        version: "1.0"
        jobs:
          - id: SUMMARIZE
            type: SUMMARIZE
            worker: your_app.workers.SummarizationWorker
            config:
              max_retries: 3
              timeout: 300
    """)
    assert load(text).require() == load(FIRST_EXAMPLE).require()
