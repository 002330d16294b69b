"""One mapping of a workflow file, read key by key: each getter gives a value of the right type or reports why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django_ais.workflows.document import NAMES, Field, Kind, Node
from django_ais.workflows.durations import parse_duration
from django_ais.workflows.problems import Report, did_you_mean, quoted
from django_ais.workflows.spec import Json, Scalar
from django_ais.workflows.templates import holds_expression

DURATION_HINT = "write seconds (300) or 500ms, 30s, 5m, 2h, 1d; at most 3650d"
NO_EXPRESSION_HINT = (
    "expressions stand in 'with', 'if', 'foreach' and the workflow's 'outputs'; write '$${{' for the signs"
)
MAX_NAME = 100


class Section:
    """Reads one mapping. A key that is absent or empty gives the default; a wrong one is reported and gives it too.

    ``where`` completes "unknown key 'x' in ...". Keys that begin with ``x-`` are free.
    """

    def __init__(self, node: Node, where: str, report: Report) -> None:
        self.node = node
        self.where = where
        self.report = report

    @classmethod
    def of(cls, node: Node, where: str, report: Report) -> Section | None:
        """A section, or ``None`` and a problem where the value is not a mapping."""
        if node.kind == "map":
            return cls(node, where, report)
        report.add(
            node.start, "W104", f"{where} takes a mapping, not {NAMES[node.kind]}", "write keys and values below it"
        )
        return None

    def close(self, known: Sequence[str], later: Sequence[str] = ()) -> list[Field]:
        """Report keys that do not belong here, and those whose time has not come. Returns the unknown ones."""
        unknown = self.others(known, later)
        for member in unknown:
            hint = did_you_mean(member.name, known) or f"known: {', '.join(known)}"
            self.report.add(member.start, "W101", f"unknown key {quoted(member.name)} in {self.where}", hint)
        return unknown

    def others(self, known: Sequence[str], later: Sequence[str] = ()) -> list[Field]:
        """The keys not known, free ones apart. Reports those of ``later``, which this version does not support yet."""
        for name in later:
            if name in self.node.fields:
                message = f"{quoted(name)} is not supported yet by this version"
                self.report.add(self.node.fields[name].start, "W150", message, "leave it out")
        return [
            member
            for name, member in self.node.fields.items()
            if name not in known and name not in later and not name.startswith("x-")
        ]

    def get(self, key: str, *kinds: Kind, wanted: str = "") -> Node | None:
        """The value under ``key`` if it is of one of these kinds (none given: of any)."""
        member = self.node.fields.get(key)
        if member is None or member.value.kind == "null":
            return None
        if kinds and member.value.kind not in kinds:
            self.wrong(key, member.value, wanted or " or ".join(NAMES[kind] for kind in kinds))
            return None
        return member.value

    def wrong(self, key: str, node: Node, wanted: str, hint: str = "") -> None:
        """Report that a value has the wrong type."""
        if node.kind == "text" and holds_expression(node.raw):
            self.refuse_expression(key, node)
            return
        if not hint and wanted == NAMES["text"]:
            hint = "put it in quotes"
        self.report.add(
            node.start, "W104", f"{quoted(key)} in {self.where} takes {wanted}, not {NAMES[node.kind]}", hint
        )

    def refuse_expression(self, key: str, node: Node) -> bool:
        """Report an expression where none is evaluated."""
        if node.kind != "text" or not holds_expression(node.raw):
            return False
        start = max(self.report.text.find("${{", node.start, node.end), node.start)
        self.report.add(start, "X210", f"{quoted(key)} in {self.where} may not hold an expression", NO_EXPRESSION_HINT)
        return True

    def require(self, key: str) -> bool:
        """Whether ``key`` has a value; reports its absence."""
        member = self.node.fields.get(key)
        if member is not None and member.value.kind != "null":
            return True
        place = member.start if member else self.node.start
        self.report.add(place, "W105", f"{self.where} has no {quoted(key)}", f"add '{key}: ...'")
        return False

    def text(self, key: str, *, longest: int = MAX_NAME) -> str | None:
        """A text that is not empty and holds no expression."""
        node = self.get(key, "text")
        if node is None or self.refuse_expression(key, node):
            return None
        if not 0 < len(node.raw) <= longest:
            message = f"{quoted(key)} in {self.where} has {len(node.raw)} characters, allowed are 1 to {longest}"
            self.report.add(node.start, "W112", message)
            return None
        return node.raw

    def free_text(self, key: str) -> str:
        """A text for people."""
        node = self.get(key, "text")
        return node.raw if node else ""

    def choice(self, key: str, words: Sequence[str]) -> str | None:
        """One of these words."""
        node = self.get(key, "text")
        if node is None or self.refuse_expression(key, node):
            return None
        if node.raw in words:
            return node.raw
        hint = did_you_mean(node.raw, words) or f"one of: {', '.join(words)}"
        self.report.add(node.start, "W113", f"{quoted(key)} in {self.where} cannot be {quoted(node.raw)}", hint)
        return None

    def integer(self, key: str, least: int, most: int) -> int | None:
        """A whole number between two bounds, both included."""
        node = self.get(key, "number", wanted="a whole number")
        if node is None:
            return None
        if not isinstance(node.scalar, int):
            self.report.add(node.start, "W104", f"{quoted(key)} in {self.where} takes a whole number, not {node.raw}")
            return None
        if not least <= node.scalar <= most:
            message = f"{quoted(key)} in {self.where} is {node.scalar}, allowed are {least} to {most}"
            self.report.add(node.start, "W114", message)
            return None
        return node.scalar

    def duration(self, key: str, *, may_be_zero: bool = False) -> float | None:
        """Seconds."""
        node = self.get(key, "number", "text", wanted="a duration")
        if node is None or self.refuse_expression(key, node):
            return None
        seconds = parse_duration(node.scalar, may_be_zero=may_be_zero)
        if seconds is None:
            self.report.add(node.start, "W140", f"{quoted(node.raw)} is not a duration", DURATION_HINT)
        return seconds

    def texts(self, key: str) -> list[Node] | None:
        """A list of texts without expressions, as nodes; other items are reported and left out."""
        node = self.get(key, "list", wanted="a list, such as [a, b]")
        if node is None:
            return None
        good = []
        for item in node.items:
            if item.kind != "text":
                self.wrong(key, item, "a list of texts")
            elif not self.refuse_expression(key, item):
                good.append(item)
        return good

    def labels(self) -> dict[str, Scalar]:
        """Free names with plain values."""
        node = self.get("labels", "map")
        good: dict[str, Scalar] = {}
        for name, member in (node.fields if node else {}).items():
            if member.value.scalar is None:
                self.report.add(
                    member.value.start, "W104", f"label {quoted(name)} takes one value, not {NAMES[member.value.kind]}"
                )
            else:
                good[name] = member.value.scalar
        return good

    def plain(self, member: Field) -> Json:
        """A value as JSON that holds no expressions anywhere; those that it holds are reported."""
        for text in member.value.all_texts():
            self.refuse_expression(member.name, text)
        return member.value.json()


def written(values: Mapping[str, Json]) -> dict[str, Json]:
    """Only what the file says: keys without a value left out."""
    return {key: value for key, value in values.items() if value is not None}
