"""The one door between YAML and `WorkflowSpec`, both ways. YAML is imported here and nowhere else.

Reading takes the parser's *events*, never ``yaml.load`` (which can build objects) and not ``yaml.compose``: its C
form recurses without a limit, and 100 KB of ``[`` end the process. Every limit holds while the events arrive, so an
alias bomb costs what its text costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from django_ais.exceptions import WorkflowInvalidError
from django_ais.workflows.checks import check
from django_ais.workflows.document import (
    NAMES,
    Field,
    Kind,
    Node,
    NotJson,
    check_text,
    find_forbidden,
    is_plain_text,
    kind_of_scalar,
    resolve,
)
from django_ais.workflows.export import to_source
from django_ais.workflows.problems import Problem, Report, TooManyProblems, did_you_mean, quoted
from django_ais.workflows.reader import read
from django_ais.workflows.schemas import WorkerInfo
from django_ais.workflows.spec import WorkflowSpec

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 10_000
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came out of a file: a spec, unless there are errors, and every problem found, in the order of the file."""

    spec: WorkflowSpec | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make the file unusable."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def require(self) -> WorkflowSpec:
        """The spec; raises `WorkflowInvalidError`, whose message holds every error as `Problem.render` writes it."""
        if self.spec is None:
            raise WorkflowInvalidError("\n".join(error.render() for error in self.errors), problems=self.problems)
        return self.spec


def load(text: str | bytes, *, file: str = "<text>", workers: Mapping[str, WorkerInfo] | None = None) -> Loaded:
    """Read and check one workflow. Never raises for what a file holds; never imports a worker, never uses the network.

    ``workers`` are the registered ones by name; ``None`` skips what only they could tell. ``file`` is only shown.
    """
    decoded, fault = _decode(text)
    report = Report(file, decoded)
    spec = None
    try:
        root = _compose(decoded, fault, report)
        draft = read(root, report) if root is not None else None
        if draft is not None:
            check(draft, report, workers)
            spec = None if report.has_errors else draft.build()
    except TooManyProblems:
        pass
    return Loaded(spec, report.problems)


def dump(spec: WorkflowSpec) -> str:
    """A spec as canonical YAML: ``load(dump(spec)).spec == spec`` for every spec that `load` gave.

    Keys in the order of the documentation, defaults left out, ids always written. Comments are not kept: a spec has
    none. (A file close to the limits of size may pass them in this form.)
    """
    text = yaml.dump(to_source(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_ENDLESS)
    return str(text)


class _Stop(Exception):
    """A limit was passed. It is reported; nothing more is read."""


def _decode(text: str | bytes) -> tuple[str, int | None]:
    """The text, and where its first byte stands that is not UTF-8."""
    if isinstance(text, str):
        return text.removeprefix("\ufeff"), None
    try:
        return text.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        good = text[: error.start].decode("utf-8-sig", errors="replace")
        return text.decode("utf-8-sig", errors="replace"), len(good)


def _compose(text: str, fault: int | None, report: Report) -> Node | None:
    size = len(text.encode(errors="replace"))
    forbidden = find_forbidden(text)
    if size > MAX_BYTES:
        report.add(0, "W108", f"the file has {size} bytes, the limit is {MAX_BYTES}")
    elif fault is not None:
        report.add(fault, "W106", "not YAML: the file is not UTF-8", "save it as UTF-8")
    elif forbidden is not None:
        message = f"not YAML: the sign U+{ord(text[forbidden]):04X} may not stand in a file"
        report.add(forbidden, "W106", message, "remove it, or write it as an escape in double quotes")
    else:
        return _Composer(report).compose(text)
    return None


def _report_syntax(error: yaml.MarkedYAMLError, report: Report) -> None:
    mark = error.problem_mark or error.context_mark
    message = " ".join(part for part in (error.context, error.problem) if part)
    hint = "put a text in quotes that holds ': ' or ' #', or begins with one of & * ! | > % @ ` [ {"
    report.add(mark.index if mark else 0, "W106", f"not YAML: {message}", hint)


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet, its anchor, and the key that waits for a value."""

    node: Node
    anchor: str | None
    key: tuple[str | None, int] | None = None  # no name: reported, its value is dropped

    @property
    def wants_key(self) -> bool:
        return self.node.kind == "map" and self.key is None


class _Composer:
    """Builds nodes from the parser's events, without recursion and within the limits."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.anchors: dict[str, Node | None] = {}
        self.stack: list[_Open] = []
        self.root: Node | None = None
        self.values = 0
        self.characters = 0

    def compose(self, text: str) -> Node | None:
        try:
            for event in yaml.parse(text, Loader=YAML_LOADER):
                self.handle(event)
        except _Stop:
            return None
        except yaml.MarkedYAMLError as error:
            _report_syntax(error, self.report)
            return None
        if self.root is None:
            self.report.add(0, "W105", "the file is empty", "a workflow has a 'name' and 'jobs'")
        return self.root

    def handle(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent() if self.root is not None:
                self.stop(event, "W109", "a file holds one workflow, here a second document begins", "use two files")
            case yaml.ScalarEvent() if self.stack and self.stack[-1].wants_key:
                self.take_key(event)
            case yaml.ScalarEvent():
                node = self.scalar(event)
                self.remember(event.anchor, node)
                self.attach(node, event)
            case yaml.AliasEvent():
                self.alias(event)
            case yaml.CollectionStartEvent():
                self.begin(event)
            case yaml.CollectionEndEvent():
                self.end(event)

    def stop(self, event: Any, code: str, message: str, hint: str = "") -> None:
        self.report.add(event.start_mark.index, code, message, hint)
        raise _Stop

    def refuse(self, event: Any, message: str, hint: str = "") -> None:
        self.report.add(event.start_mark.index, "W109", message, hint)

    def check_tag(self, event: Any) -> None:
        if event.tag is not None and not (event.tag in _TEXT_TAGS and isinstance(event, yaml.ScalarEvent)):
            self.refuse(
                event, f"tags are not allowed: {quoted(event.tag)}", "put a text in quotes that begins with '!'"
            )

    def scalar(self, event: Any) -> Node:
        self.check_tag(event)
        start, end = event.start_mark.index, event.end_mark.index
        try:
            # Not `style`: for plain scalars the C parser says '' and the pure one None.
            value = resolve(event.value) if event.implicit[0] and event.tag is None else check_text(event.value)
        except NotJson as error:
            self.report.add(start, "W111", str(error))
            value = None
        return Node(kind_of_scalar(value), start, end, scalar=value, raw=event.value, weight=len(event.value))

    def take_key(self, event: Any) -> None:
        node = self.scalar(event)
        self.remember(event.anchor, node)
        is_merge = event.value == "<<" and event.implicit[0]
        if is_merge:
            self.refuse(
                event, "merge keys are not part of YAML 1.2", "write the keys out, or use an anchor for a whole value"
            )
        elif node.kind != "text" and event.value:
            self.refuse(event, f"keys are texts, this is {NAMES[node.kind]}", f'write "{event.value}" in quotes')
        elif node.kind != "text":
            self.refuse(event, "a key is missing here")
        self.stack[-1].key = (None if is_merge else event.value, node.start)
        self.stack[-1].node.weight += node.weight

    def alias(self, event: Any) -> None:
        if self.stack and self.stack[-1].wants_key:
            self.stop(event, "W109", "a key cannot be an alias", "write the key out")
        node = self.anchors.get(event.anchor)
        if node is None:
            known = [name for name, anchored in self.anchors.items() if anchored is not None]
            inside = event.anchor in self.anchors
            message = (
                "this alias stands inside its own anchor" if inside else f"no anchor &{event.anchor} stands before it"
            )
            self.stop(event, "W109", message, did_you_mean(event.anchor, known))
        else:
            self.attach(node, event)

    def remember(self, anchor: str | None, node: Node | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = node

    def begin(self, event: Any) -> None:
        self.check_tag(event)
        if self.stack and self.stack[-1].wants_key:
            self.stop(event, "W109", "a key is a text, not a mapping or a list", "put quotes around it")
        if len(self.stack) >= MAX_DEPTH:
            self.stop(event, "W108", f"the file nests deeper than {MAX_DEPTH}")
        self.remember(event.anchor, None)
        kind: Kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
        self.stack.append(_Open(Node(kind, event.start_mark.index, event.end_mark.index, height=1), event.anchor))

    def end(self, event: Any) -> None:
        opened = self.stack.pop()
        opened.node.end = event.end_mark.index
        self.remember(opened.anchor, opened.node)
        self.attach(opened.node, event)

    def attach(self, node: Node, event: Any) -> None:
        whole = isinstance(event, yaml.AliasEvent | yaml.ScalarEvent)  # else its parts were counted as they came
        self.values += node.size if whole else 1
        self.characters += node.weight if whole else 0
        if self.values > MAX_NODES:
            self.stop(event, "W108", f"the file has more than {MAX_NODES} values, aliases counted each time")
        if self.characters > MAX_BYTES:
            self.stop(event, "W108", f"the texts have more than {MAX_BYTES} characters, aliases counted each time")
        if len(self.stack) + node.height > MAX_DEPTH:
            self.stop(event, "W108", f"the file nests deeper than {MAX_DEPTH}")
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        parent.node.size += node.size
        parent.node.weight += node.weight
        parent.node.height = max(parent.node.height, node.height + 1)
        if parent.key is None:
            parent.node.items.append(node)
        else:
            name, start = parent.key
            parent.key = None
            if name is not None:
                self.add_field(parent.node, name, start, node)

    def add_field(self, mapping: Node, name: str, start: int, value: Node) -> None:
        first = mapping.fields.get(name)
        if first is None:
            mapping.fields[name] = Field(name, start, value)
        else:
            line = self.report.line_of(first.start)
            self.report.add(
                start, "W107", f"the key {quoted(name)} stands twice here (first at line {line})", "remove one"
            )


_ENDLESS = 2**31  # no folded lines


class _Dumper(yaml.SafeDumper):
    """Block style, no anchors, and quotes around whatever YAML 1.1 or 1.2 would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str | None:
    lines = text.split("\n")
    if (
        len(lines) > 1
        and all(line.isprintable() and line == line.rstrip() for line in lines)
        and lines[0].lstrip() == lines[0] != ""
    ):
        return "|"
    return None if text.isprintable() and is_plain_text(text) else '"'


_Dumper.add_representer(str, _represent_text)
