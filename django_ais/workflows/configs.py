"""The ``config`` of a job or of the defaults: our own keys read, the worker's own keys kept for its config model."""

from __future__ import annotations

from dataclasses import dataclass, field

from django_ais.retry import Backoff
from django_ais.workflows.document import Field
from django_ais.workflows.sections import Section, written
from django_ais.workflows.spec import ConfigSpec, Json

CONFIG_KEYS = (
    "max_retries", "timeout", "queue_timeout", "total_timeout", "backoff", "retry_on", "no_retry_on", "on_exhausted",
)  # fmt: skip
CONFIG_KEYS_LATER = ("on_timeout", "budget", "rate_limit")
BACKOFF_KEYS = ("kind", "first", "max", "jitter")
MOST_RETRIES = 1_000
_LIMITS = ("timeout", "queue_timeout", "total_timeout")


@dataclass(slots=True)
class ConfigDraft:
    """What one ``config`` says: our keys as values, the others as fields, and where the mapping begins."""

    start: int = 0
    values: dict[str, Json] = field(default_factory=dict)
    extra: dict[str, Field] = field(default_factory=dict)

    def build(self, defaults: ConfigDraft) -> ConfigSpec:
        """The config with ``defaults`` below it, key by key."""
        extra = {name: member.value.json() for name, member in (defaults.extra | self.extra).items()}
        return ConfigSpec(**(defaults.values | self.values), extra=extra)


def read_config(parent: Section) -> ConfigDraft:
    """Read ``config`` of a job or of the defaults. Empty where there is none."""
    node = parent.get("config", "map")
    if node is None:
        return ConfigDraft()
    section = Section(node, "config", parent.report)
    others = section.others(CONFIG_KEYS, CONFIG_KEYS_LATER)
    for member in others:
        section.plain(member)
    return ConfigDraft(node.start, _read_values(section), {member.name: member for member in others})


def _read_values(section: Section) -> dict[str, Json]:
    values = written(
        {
            "max_retries": section.integer("max_retries", 0, MOST_RETRIES),
            "timeout": section.duration("timeout"),
            "queue_timeout": section.duration("queue_timeout"),
            "total_timeout": section.duration("total_timeout"),
            "backoff": _read_backoff(section),
            "retry_on": _read_names(section, "retry_on"),
            "no_retry_on": _read_names(section, "no_retry_on"),
            "on_exhausted": section.choice("on_exhausted", ("fail", "suspend")),
        }
    )
    for key in _LIMITS:  # written without a value: no limit, whatever the defaults say
        if key in section.node.fields and section.node.fields[key].value.kind == "null":
            values[key] = None
    return values


def _read_names(section: Section, key: str) -> tuple[str, ...] | None:
    """Error codes or class names."""
    names = section.texts(key)
    return tuple(node.raw for node in names) if names is not None else None


def _read_backoff(parent: Section) -> Backoff | None:
    node = parent.get("backoff", "map")
    if node is None:
        return None
    section = Section(node, "backoff", parent.report)
    section.close(BACKOFF_KEYS)
    jitter = section.get("jitter", "boolean")
    if jitter is not None and jitter.scalar is False:
        hint = "leave the key out: without jitter, jobs that failed together come back together"
        parent.report.add(jitter.start, "W113", "'jitter' in backoff cannot be false", hint)
    values = written(
        {
            "kind": section.choice("kind", ("exponential", "constant")),
            "first": section.duration("first", may_be_zero=True),
            "max": section.duration("max", may_be_zero=True),
        }
    )
    return Backoff(**(Backoff().model_dump() | values))
