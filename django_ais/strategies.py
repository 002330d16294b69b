"""How a job thinks: prompt, output schema and tools, from plain values alone. Pure: no Django, never a model.

A `BaseStrategy` sees a `JobContext` and returns what to send; it neither calls the gateway nor reads the database, so
it can be tested, replayed and reused as a function. `Worker.prepare` reads what it needs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from django_ais.exceptions import ConfigurationError, OutputInvalidError
from django_ais.gateways import GatewayRequest, Message, OutputSpec, TextPart, ToolSpec

CONTEXT_KEYS = frozenset({"prompt", "system", "messages", "model", "settings"})


class JobContext(BaseModel):
    """A frozen snapshot of a job. ``inputs`` is what `BaseWorker.prepare` returned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID
    type: str
    payload: Any = None
    tenant: str = ""
    user_id: Any = None
    attempt: int = 1
    inputs: dict[str, Any] = Field(default_factory=dict)
    parent_id: UUID | None = None


class Tool:
    """A function that the model may ask for.

    ``repeat`` says what may happen after a crash between the call and its record: ``safe`` (call again), ``keyed``
    (call again: it deduplicates by the ``call_key`` it takes) or ``never`` (the job is suspended for a person).
    Arguments are checked against the function's annotations; a parameter named ``call_key`` is filled by the runtime
    and not shown.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        repeat: Literal["safe", "keyed", "never"] = "never",
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        self.description = description or inspect.getdoc(function) or ""
        self.repeat = repeat
        self.takes_call_key = "call_key" in inspect.signature(function).parameters
        self.parameters = _parameters_model(function)

    def spec(self) -> ToolSpec:
        """What the model is told."""
        return ToolSpec(name=self.name, description=self.description, parameters=self.parameters.model_json_schema())

    def call(self, arguments: Mapping[str, Any], *, call_key: str) -> Any:
        """Check the arguments and call the function. Raises ValidationError for arguments that do not fit."""
        return self.function(**self.keywords(arguments, call_key=call_key))

    def keywords(self, arguments: Mapping[str, Any], *, call_key: str) -> dict[str, Any]:
        """What to call the function with. Raises ValidationError for arguments that do not fit."""
        values = self.parameters(**arguments)
        keywords = {field: getattr(values, field) for field in type(values).model_fields}
        return {**keywords, "call_key": call_key} if self.takes_call_key else keywords


def _parameters_model(function: Callable[..., Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if name == "call_key":
            continue
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        fields[name] = (kind, ... if parameter.default is parameter.empty else parameter.default)
    return create_model(f"{function.__name__}_arguments", __config__=ConfigDict(extra="forbid"), **fields)


class BaseStrategy:
    """What to send to a gateway for a job. All hooks are plain functions of values."""

    max_turns = 8  # how often tools may be asked for before the job fails
    max_repairs = 1  # how often an answer that does not fit the schema is asked for again

    def compose_context(self, job: JobContext) -> Mapping[str, Any]:
        """Return any of ``prompt system messages model settings``; another key is an error.

        ``prompt`` is the last user message, ``messages`` (of `gateways.Message`) come before it. The default sends the
        payload's ``prompt``.
        """
        if isinstance(job.payload, dict) and isinstance(job.payload.get("prompt"), str):
            return {"prompt": job.payload["prompt"]}
        raise ConfigurationError(
            f"{type(self).__name__} has no compose_context and the payload of {job.type} has no text under 'prompt'"
        )

    def get_output_schema(self) -> type | None:
        """A Pydantic model, or any type Pydantic knows, that the answer must fit; None leaves it as text."""
        return None

    def get_tools(self) -> Sequence[Tool | Callable[..., Any]]:
        """The tools on offer; a bare function is a `Tool` whose ``repeat`` is ``never``."""
        return ()


def tools_of(strategy: BaseStrategy) -> dict[str, Tool]:
    """The strategy's tools by name. Raises `ConfigurationError` for two of one name."""
    tools = [tool if isinstance(tool, Tool) else Tool(tool) for tool in strategy.get_tools()]
    by_name = {tool.name: tool for tool in tools}
    if len(by_name) != len(tools):
        raise ConfigurationError(f"{type(strategy).__name__}.get_tools() offers two tools of the same name")
    return by_name


def first_request(strategy: BaseStrategy, context: JobContext) -> GatewayRequest:
    """The request of a job's first turn. Raises `ConfigurationError` for a context with unknown keys or without
    text.
    """
    composed = dict(strategy.compose_context(context))
    if unknown := sorted(set(composed) - CONTEXT_KEYS):
        raise ConfigurationError(
            f"{type(strategy).__name__}.compose_context returned {', '.join(map(repr, unknown))}; "
            f"it may return: {', '.join(sorted(CONTEXT_KEYS))}"
        )
    messages: list[Message] = []
    if composed.get("system"):
        messages.append(Message(role="system", parts=(TextPart(text=str(composed["system"]), trust="developer"),)))
    messages.extend(composed.get("messages") or ())
    if composed.get("prompt") is not None:
        messages.append(Message(role="user", parts=(TextPart(text=str(composed["prompt"]), trust="user"),)))
    if not messages:
        raise ConfigurationError(f"{type(strategy).__name__}.compose_context returned neither prompt nor messages")
    return GatewayRequest(
        model=composed.get("model"),
        messages=tuple(messages),
        tools=tuple(tool.spec() for tool in tools_of(strategy).values()),
        output=_output_spec(strategy.get_output_schema()),
        settings=dict(composed.get("settings") or {}),
    )


def _output_spec(schema: type | None) -> OutputSpec | None:
    if schema is None:
        return None
    return OutputSpec(schema=TypeAdapter(schema).json_schema(), name=getattr(schema, "__name__", "output"))


def fit(answer: Any, schema: type | None) -> Any:
    """The answer as JSON values, checked against the schema.

    Text is read as JSON where a schema is asked for. Raises `OutputInvalidError` that names places and kinds of error
    and never the values, so that it may be shown and sent back.
    """
    if schema is None:
        return answer
    adapter: TypeAdapter[Any] = TypeAdapter(schema)
    try:
        value = adapter.validate_json(answer) if isinstance(answer, str) else adapter.validate_python(answer)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'answer'}: {item['type']}" for item in error.errors()[:8]
        )
        name = getattr(schema, "__name__", str(schema))
        raise OutputInvalidError(f"the answer does not fit {name}: {places}") from error
    return adapter.dump_python(value, mode="json")
