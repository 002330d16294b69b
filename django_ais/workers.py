"""What an application writes to handle a type of job: `BaseWorker`, and what its hooks hold: an `ActiveJob`.

A worker owns the job's life: what to read before (`prepare`), the work (`run`: by default strategy, gateway,
validation), the jobs that follow from it (`route`), and what to write with the result (`on_done`), in the same
transaction. Hooks may be plain or ``async def``; an async hook's ORM calls run in the job's database thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol
from uuid import UUID

from pydantic import BaseModel

from django_ais.events import Event
from django_ais.exceptions import AisError
from django_ais.gateways import BaseGateway
from django_ais.retry import RetryPolicy
from django_ais.strategies import BaseStrategy, JobContext

Repeat = Literal["safe", "keyed", "never"]


class ActiveJob(Protocol):
    """A job in the hands of the attempt that owns it: its row's values, and the right to say and record things.

    Every method raises `StopJob` (let it pass) once the lease is lost, the job is cancelled or its time is over.
    """

    id: UUID
    type: str
    payload: Any
    tenant: str
    user_id: Any
    attempt: int
    root_id: UUID
    parent_id: UUID | None
    inputs: dict[str, Any]
    config: Any

    @property
    def context(self) -> JobContext:
        """The frozen snapshot that strategies see."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should stop: asked by long plain code between two pieces of work."""
        ...

    def emit(self, event: str | Event, /, **data: Any) -> None:
        """Say something: an event type with its data, or an event. Touches no database; committed within moments."""
        ...

    def progress(self, current: float | None = None, *, total: float | None = None, message: str | None = None) -> None:
        """Say how far the work is."""
        ...

    def log(self, message: str, *, level: Literal["debug", "info", "warning", "error"] = "info", **fields: Any) -> None:
        """Say something for people."""
        ...

    def step(
        self, name: str, function: Callable[..., Any], /, *args: Any, repeat: Repeat = "safe", **kwargs: Any
    ) -> Any:
        """Call the function once for this job and record what it returned (JSON); on later attempts return the record.

        ``repeat`` says what to do when a crash fell between the call and its record: ``safe`` calls again, ``keyed``
        calls again with the same ``call_key`` (a keyword argument that the function then takes), ``never`` suspends the
        job for a person. Raises `StepMismatch` if the step was recorded with other arguments.
        """
        ...

    def dispatch(self, type: str, payload: Any = None, *, key: str | None = None, **options: Any) -> UUID:
        """Create a child job now and return its id; a second attempt gets the same child. The job then waits for it."""
        ...

    def think(self, strategy: BaseStrategy | None = None, gateway: BaseGateway | None = None) -> Any:
        """Run a strategy against a gateway: turns, tools, validation; each call a step. Returns the validated
        answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Child:
    """A job that `BaseWorker.route` asks for."""

    type: str
    payload: Any = None
    worker: str | None = None
    queue: str | None = None
    priority: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ChildResult:
    """How a child ended, as `BaseWorker.on_done` sees it. ``error`` holds ``code`` and ``message``."""

    id: UUID
    type: str
    status: str
    result: Any = None
    error: Any = None


class BaseWorker:
    """Handles one type of job. Made anew for each attempt; keep nothing on it between two.

    ``strategy_class`` and ``gateway_class`` are what the default `run` uses; ``gateway_class = BaseGateway`` means the
    gateway that the settings name under the alias ``gateway``.
    """

    job_type: ClassVar[str | None] = None  # registers the class under this name too, when its module is discovered
    strategy_class: ClassVar[type[BaseStrategy] | None] = None
    gateway_class: ClassVar[type[BaseGateway]] = BaseGateway
    gateway: ClassVar[str] = "default"
    config_class: ClassVar[type[BaseModel] | None] = None  # what a job's own config keys must fit
    output_class: ClassVar[type[BaseModel] | None] = None  # what `run` returns, where a workflow should know
    retry_policy: ClassVar[RetryPolicy] = RetryPolicy()
    timeout: ClassVar[float | None] = 300.0  # seconds for one attempt
    join: ClassVar[Literal["all_succeeded", "all_done"]] = "all_succeeded"  # what the children must come to

    def prepare(self, job: ActiveJob) -> Mapping[str, Any]:
        """Read what the work needs, as JSON. Recorded as the job's first step: later attempts see the same values."""
        return {}

    def run(self, job: ActiveJob) -> Any:
        """Do the work and return the result, as JSON or a Pydantic model. The default asks the strategy and the
        gateway.
        """
        return job.think()

    def route(self, job: ActiveJob, result: Any) -> Sequence[Child]:
        """The jobs that follow from the result. The job waits for them; `on_done` comes after the last."""
        return ()

    def on_done(self, job: ActiveJob, result: Any, children: Sequence[ChildResult]) -> None:
        """Write the application's own rows, in the transaction that records the result: both happen or neither.

        The transaction may be run again as a whole when the database reports a deadlock, so touch nothing but the
        database here. An error fails the attempt.
        """

    def on_failure(self, job: ActiveJob, error: AisError | Exception) -> None:
        """Write what the application needs to know of a failure, in the transaction that records it. Its errors are
        logged.
        """
