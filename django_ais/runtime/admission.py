"""What a dispatch may ask for: every value is checked here, before anything is written. Roots and children alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError as FieldError
from django.utils import timezone
from pydantic import ValidationError

from django_ais import conf, registry
from django_ais.exceptions import ConfigurationError, DispatchError
from django_ais.models import JobPacket
from django_ais.queues import PRIORITIES
from django_ais.retry import JobConfig, foreign_keys
from django_ais.runtime import database, lifecycle
from django_ais.runtime.lifecycle import Values
from django_ais.values import UNSTORABLE, ensure_json
from django_ais.workers import BaseWorker

NO_CONFIG = JobConfig()
LENGTHS = {"type": 100, "worker": 200, "tenant": 100, "queue": 100, "idempotency_key": 200}
KEYS = range(-(2**63), 2**63)  # whole numbers that a database's key can be


def admitted(
    type: str,
    payload: Any,
    *,
    worker: str | None,
    config: Mapping[str, Any],
    queue: str,
    priority: int,
    run_after: datetime | None,
    user: Any = None,
    place: str = "payload",
    **more: Any,
) -> Values:
    """The columns of a queued job. ``place`` is what the payload is called in an error.

    Raises `DispatchError`, `UnknownWorkerError` or `ConfigurationError` naming what cannot be accepted.
    """
    name = type if worker is None else worker
    check_text(type=type, worker=name, queue=queue, **{key: more[key] for key in LENGTHS if key in more})
    _check_priority(priority)
    _check_time(run_after)
    settings = conf.current()
    conf.lookup(settings.queues, queue, key="QUEUES")
    plain = _plain_config(config)
    _check_worker(name, plain, starts_workflow=more.get("workflow_id") is not None)
    return lifecycle.new_job(
        type=type,
        worker=name,
        payload=ensure_json(payload, what=place, limit=settings.max_payload_bytes),
        config=plain,
        limits=_limits(plain),
        queue=queue,
        priority=priority,
        run_after=run_after,
        user_id=_user_id(user),
        **more,
    )


def check_text(**values: Any) -> None:
    """Refuse a name that no column could hold. Only an idempotency key may be None."""
    for name, value in values.items():
        if value is None and name == "idempotency_key":
            continue
        most = LENGTHS.get(name, 250)
        if not isinstance(value, str) or len(value) > most or UNSTORABLE.search(value):
            raise DispatchError(f"{name} must be text of at most {most} characters without NUL or lone surrogates")
        if not value and name == "idempotency_key":
            raise DispatchError("idempotency_key must not be empty; leave it out for a job without one")


def _check_priority(priority: Any) -> None:
    if not isinstance(priority, int) or isinstance(priority, bool) or priority not in PRIORITIES:
        raise DispatchError(f"priority must be a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}")


def _check_time(due: Any) -> None:
    if due is None:
        return
    if not isinstance(due, datetime):
        raise DispatchError(f"run_after must be a datetime, not a {type(due).__name__}")
    if timezone.is_aware(due) != timezone.is_aware(database.moment()):
        wanted = "aware" if timezone.is_aware(database.moment()) else "naive"
        raise DispatchError(
            f"run_after must be {wanted}, as USE_TZ says; django.utils.timezone.now() gives such a time"
        )


def _plain_config(config: Any) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise DispatchError(f"config must be a dict, not a {type(config).__name__}")
    plain: dict[str, Any] = ensure_json(dict(config), what="config", limit=conf.current().max_payload_bytes)
    return plain


def _check_worker(name: str, config: dict[str, Any], *, starts_workflow: bool) -> None:
    if starts_workflow:
        return
    if name in lifecycle.BUILT_IN:
        raise DispatchError(f"worker {name!r} runs imported workflows; start one by its name: jobs.start(name, inputs)")
    own_config(registry.worker(name), config)


def own_config(worker: type, config: Mapping[str, Any]) -> Any:
    """The worker's own part of a job's config: an instance of its ``config_class``, or a dict where it has none."""
    mine = foreign_keys(config)
    if not issubclass(worker, BaseWorker) or worker.config_class is None:
        return mine
    try:
        return worker.config_class(**mine)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"config of {worker.__name__}: {place}: {first['msg']}") from error


def _limits(config: Mapping[str, Any]) -> JobConfig:
    try:
        return NO_CONFIG.updated(config)
    except ValidationError as error:
        first = error.errors()[0]
        raise DispatchError(f"config.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _user_id(user: Any) -> Any:
    key = getattr(user, "pk", user)
    if key is None:
        return None
    field: Any = JobPacket._meta.get_field("user")
    try:
        key = field.target_field.to_python(key)
    except FieldError:
        key = KEYS.stop
    if isinstance(key, int) and key not in KEYS:
        raise DispatchError(f"user must be a saved user or a user's key, and {user!r:.80} is neither")
    return key
