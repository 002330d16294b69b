"""``settings.DJANGO_AIS``, parsed once into typed values. The only place where a setting has its default.

`current` parses at first use and again after ``setting_changed`` (so ``override_settings`` works). A mistake raises
`ConfigurationError`, and the system check ``django_ais.E001`` reports all of them at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from django_ais.exceptions import ConfigurationError

DOCS = "docs/reference/settings.md"


class DriverSettings(BaseModel):
    """One alias of ``QUEUES``, ``BUSES`` or ``GATEWAYS``. ``BACKEND`` is an installed name or, with a dot, a class
    path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=str.upper)

    backend: str
    options: dict[str, Any] = Field(default_factory=dict)


class Settings(BaseModel):
    """Everything under ``DJANGO_AIS``; the keys are these fields' names in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=str.upper, allow_inf_nan=False)

    queues: dict[str, DriverSettings] = Field(
        default_factory=lambda: {"default": DriverSettings(BACKEND="celery")},
        description="Queue drivers by alias.",
    )
    buses: dict[str, DriverSettings] = Field(
        default_factory=lambda: {"default": DriverSettings(BACKEND="redis")},
        description="Bus drivers by alias; `default` carries the events.",
    )
    gateways: dict[str, DriverSettings] = Field(
        default_factory=dict, description="Gateway drivers by alias. There is no default."
    )
    celery_queue: str | None = Field(
        default=None,
        description="The broker's queue name of the default Celery queue, used when `QUEUES` is not given.",
    )
    event_channel_layer: str | None = Field(
        default=None, description="The Channels layer of the `channels` bus; harmless without that bus."
    )
    lease_seconds: float = Field(
        default=60.0, gt=0, description="How long a claim lasts without renewal: a dead worker process is noticed then."
    )
    max_deliveries: int = Field(
        default=5, ge=1, description="Claims of a job that may end with a dead worker process before the job fails."
    )
    event_flush_ms: int = Field(
        default=50, ge=1, description="Events of a worker process are committed together at most this often."
    )
    event_retention_days: int | None = Field(
        default=30, ge=0, description="How long events of finished runs are kept; None keeps them."
    )
    sweep_seconds: float = Field(
        default=5.0, gt=0, description="How often lost doorbells and dead workers are looked for."
    )
    announce_again_seconds: float = Field(
        default=60.0,
        gt=0,
        description="A job nobody claimed is announced again after this long, then doubling up to an hour.",
    )
    enqueue_timeout_seconds: float = Field(
        default=5.0, gt=0, description="How long a queue driver may take for a batch."
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, description="How long a stopping worker process waits for its running jobs."
    )
    sqlite_wal: bool = Field(
        default=True,
        description="Put the SQLite file of jobs into WAL mode: readers and the writer never wait for each other.",
    )
    max_payload_bytes: int = Field(
        default=1024 * 1024, gt=0, description="The size limit of a payload or a result, as JSON."
    )
    max_event_bytes: int = Field(default=64 * 1024, gt=0, description="The size limit of one event's data, as JSON.")

    tenant_resolver: str = Field(
        default="django_ais.tenancy.one_tenant",
        description="Dotted path of `(request) -> str | None`: whose jobs a request may touch. None hides all of them.",
    )
    authorizer: str = Field(
        default="django_ais.tenancy.owner_or_permission",
        description="Dotted path of `(user, action, job) -> bool`, for view, inspect, cancel, retry and resume; "
        "for start the third is a workflow.",
    )
    stream_limit: int = Field(default=5_000, ge=1, description="Open streams of one server process.")
    stream_limit_per_user: int = Field(default=20, ge=1, description="Open streams of one user in a server process.")
    stream_rotation_seconds: float = Field(
        default=600.0, gt=0, description="A stream is closed after about this long (20 % more or less); clients resume."
    )
    stream_keepalive_seconds: float = Field(
        default=15.0, gt=0, description="A silent stream sends a comment this often, checked every five seconds."
    )
    stream_send_timeout_seconds: float = Field(
        default=30.0, gt=0, description="A client that takes nothing for this long is disconnected; it may resume."
    )
    stream_drain_seconds: float = Field(
        default=5.0, ge=0, description="A stopping server process ends its streams spread over this long."
    )

    @field_validator("queues", "buses", "gateways", mode="before")
    @classmethod
    def _expand_bare_names(cls, aliases: Any) -> Any:
        if not isinstance(aliases, Mapping):
            return aliases
        return {alias: {"BACKEND": value} if isinstance(value, str) else value for alias, value in aliases.items()}

    @field_validator("queues", "buses")
    @classmethod
    def _need_default(cls, aliases: dict[str, DriverSettings]) -> dict[str, DriverSettings]:
        if "default" not in aliases:
            raise ValueError("needs an alias named 'default'")
        return aliases

    def queue(self, alias: str) -> DriverSettings:
        """The settings of a queue alias, with ``CELERY_QUEUE`` folded in. Raises `ConfigurationError` for an unknown
        alias.
        """
        driver = lookup(self.queues, alias, key="QUEUES")
        if alias == "default" and "queues" not in self.model_fields_set and self.celery_queue:
            return DriverSettings(BACKEND=driver.backend, OPTIONS={"queue": self.celery_queue})
        return driver

    def bus(self, alias: str) -> DriverSettings:
        """The settings of a bus alias, with ``EVENT_CHANNEL_LAYER`` folded in."""
        driver = lookup(self.buses, alias, key="BUSES")
        if driver.backend == "channels" and self.event_channel_layer and "layer" not in driver.options:
            return DriverSettings(BACKEND="channels", OPTIONS={**driver.options, "layer": self.event_channel_layer})
        return driver

    def gateway(self, alias: str) -> DriverSettings:
        """The settings of a gateway alias. Raises `ConfigurationError` with the lines to add where there is none."""
        if not self.gateways:
            raise ConfigurationError(
                "No gateway is configured. Add for example "
                "DJANGO_AIS['GATEWAYS'] = {'default': {'BACKEND': 'function', "
                f"'OPTIONS': {{'function': 'shop.compute.answer'}}}}}} (see {DOCS})."
            )
        return lookup(self.gateways, alias, key="GATEWAYS")


def lookup(aliases: Mapping[str, DriverSettings], alias: str, *, key: str) -> DriverSettings:
    """One alias. Raises `ConfigurationError` that lists the known ones."""
    try:
        return aliases[alias]
    except KeyError:
        raise ConfigurationError(
            f"DJANGO_AIS[{key!r}] has no alias {alias!r}. Known: {', '.join(sorted(aliases)) or 'none'}."
            f"{did_you_mean(alias, aliases)}"
        ) from None


def did_you_mean(word: str, known: Any) -> str:
    """`` Did you mean 'x'?`` or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def problems(raw: Any) -> list[str]:
    """Every mistake in a value of ``DJANGO_AIS``, a sentence each."""
    if not isinstance(raw, Mapping):
        return [f"DJANGO_AIS must be a dict, not {type(raw).__name__}."]
    try:
        Settings(**raw)
    except ValidationError as error:
        return [_sentence(item) for item in error.errors()]
    except TypeError as error:
        return [f"DJANGO_AIS: {error}."]
    return []


def _sentence(item: Any) -> str:
    place = "".join(f"[{part!r}]" for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = [name.upper() for name in (DriverSettings if len(item["loc"]) > 1 else Settings).model_fields]
        word = str(item["loc"][-1])
        return f"DJANGO_AIS{place} is not a setting.{did_you_mean(word.upper(), known)} Known: {', '.join(known)}."
    return f"DJANGO_AIS{place}: {item['msg'].removeprefix('Value error, ')}."


@cache
def current() -> Settings:
    """The settings in force. Raises `ConfigurationError` naming every mistake."""
    raw = getattr(settings, "DJANGO_AIS", {})
    if found := problems(raw):
        raise ConfigurationError(" ".join(found))
    return Settings(**raw)


def _reset(*, setting: str, **_: Any) -> None:
    if setting == "DJANGO_AIS":
        current.cache_clear()


setting_changed.connect(_reset, dispatch_uid="django_ais.conf")
