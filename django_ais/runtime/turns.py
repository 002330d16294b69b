"""A strategy in conversation with a gateway: turns, tools, validation. Each gateway call and each tool call is a
step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from django_ais import events
from django_ais.events import Event
from django_ais.exceptions import GatewayError, JobError, OutputInvalidError
from django_ais.gateways import (
    BaseGateway,
    Chunk,
    GatewayContext,
    GatewayRequest,
    GatewayResponse,
    Message,
    PartDelta,
    ToolCallPart,
)
from django_ais.gateways.chunks import Folding
from django_ais.runtime import bridge
from django_ais.runtime.engine import Attempt
from django_ais.runtime.steps import Ledger, Outcome, Usage
from django_ais.strategies import BaseStrategy, JobContext, Tool, first_request, fit, tools_of

Emit = Callable[[Event], None]


class Conversation:
    """The turns of one job. Positions in it name the steps: ``turn-1``, ``turn-1/tool-0``, ``turn-2`` ..."""

    def __init__(
        self, attempt: Attempt, ledger: Ledger, strategy: BaseStrategy, gateway: BaseGateway, *, name: str
    ) -> None:
        self._attempt = attempt
        self._ledger = ledger
        self._strategy = strategy
        self._gateway = gateway
        self._schema = strategy.get_output_schema()
        self._tools = tools_of(strategy)
        self._name = name

    def run(self, context: JobContext) -> Any:
        """Talk until there is an answer that fits the schema. Raises `OutputInvalidError` or `GatewayError` without
        one.
        """
        request = self._adapted(first_request(self._strategy, context))
        repairs = 0
        for turn in range(1, self._strategy.max_turns + 1):
            key = f"{self._name}-{turn}"
            try:
                response = self._ask(key, request)
            except _Unfit as unfit:
                if repairs == self._strategy.max_repairs:
                    raise unfit.reason from None
                repairs += 1
                request = self._more(
                    request, unfit.response.message, Message.user(_repair(unfit.reason), trust="developer")
                )
                continue
            if not response.tool_calls:
                return fit(_answer(response), self._schema)
            results = [self._use_tool(f"{key}/tool-{place}", call) for place, call in enumerate(response.tool_calls)]
            request = self._more(request, response.message, *results)
        raise JobError(
            f"{type(self._strategy).__name__} has no answer after {self._strategy.max_turns} turns (max_turns)"
        )

    def _adapted(self, request: GatewayRequest) -> GatewayRequest:
        """Ask for the schema in words where the gateway takes none."""
        if request.output is None or self._gateway.supports_output_schema:
            return request
        words = Message.system(f"Answer with one JSON value that fits this JSON schema: {request.output.json_schema}")
        return request.model_copy(update={"output": None, "messages": (words, *request.messages)})

    def _more(self, request: GatewayRequest, *messages: Message) -> GatewayRequest:
        return request.model_copy(update={"messages": (*request.messages, *messages)})

    def _ask(self, key: str, request: GatewayRequest) -> GatewayResponse:
        def call() -> Outcome:
            response = bridge.run(self._stream(key, request), self._attempt.lease)
            usage = Usage(response.usage.input_tokens, response.usage.output_tokens, response.cost or 0)
            self._tell_usage(key, response)
            return Outcome(response.model_dump(mode="json"), self._unfit(response), usage)

        output = self._ledger.run(key, "gateway", {"request": request.fingerprint()}, call, repeat="keyed")
        return GatewayResponse.model_validate(output)

    async def _stream(self, key: str, request: GatewayRequest) -> GatewayResponse:
        row, folding = self._attempt.row, Folding()
        context = GatewayContext(
            job_id=str(row.id),
            root_id=str(row.root_id),
            tenant=row.tenant,
            call_key=f"{row.id}:{key}",
            attempt=row.attempt,
            alias=self._gateway.alias,
        )
        # A turn that is asked again speaks under a new name: what it said before was never completed. The epoch counts
        # claims; one that was given back is no attempt.
        name = key if row.lease_epoch == 1 else f"{key}.{row.lease_epoch}"
        speaker = _Speaker(name, self._attempt.buffer.append)
        async with aclosing(self._gateway.stream(request, context)) as chunks:
            async for chunk in chunks:
                speaker.say(chunk)
                if chunk.type != "failed":  # the error that is raised next says more
                    folding.add(chunk)
        response = folding.response()
        speaker.finish(response.finish)
        return response

    def _unfit(self, response: GatewayResponse) -> Exception | None:
        if response.tool_calls:
            return None
        if response.finish in ("content_filter", "refusal"):
            return GatewayError(f"the gateway ended with {response.finish}", code=response.finish, billed="yes")
        if response.finish == "length":
            return GatewayError("the answer was cut off by the token limit", code="output_length", billed="yes")
        try:
            fit(_answer(response), self._schema)
        except OutputInvalidError as error:
            return _Unfit(error, response)
        return None

    def _tell_usage(self, key: str, response: GatewayResponse) -> None:
        if response.usage.total_tokens:
            self._attempt.buffer.append(
                events.UsageRecorded(
                    step=key,
                    model=response.model,
                    input_tokens=response.usage.input_tokens,
                    output_tokens=response.usage.output_tokens,
                    cost=response.cost,
                    estimated=response.usage.estimated or None,
                )
            )

    def _use_tool(self, key: str, call: ToolCallPart) -> Message:
        tool = self._tools.get(call.name)
        if tool is None:
            return Message.tool(
                call, f"there is no tool {call.name!r}; there are: {', '.join(self._tools)}", is_error=True
            )
        if call.malformed is not None:
            return Message.tool(call, "the arguments were not a JSON object", is_error=True)
        inputs = {"name": call.name, "arguments": call.arguments}
        output = self._ledger.run(key, "tool", inputs, lambda: self._call_tool(key, tool, call), repeat=tool.repeat)
        return Message.tool(call, output["content"], is_error=output["is_error"])

    def _call_tool(self, key: str, tool: Tool, call: ToolCallPart) -> Outcome:
        emit = self._attempt.buffer.append
        emit(events.ToolCalled(call=key, name=tool.name, arguments=call.arguments))
        try:
            keywords = tool.keywords(call.arguments, call_key=f"{self._attempt.row.id}:{key}")
        except ValidationError as error:
            places = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            emit(events.ToolFailed(call=key, name=tool.name, code="invalid_arguments", message=places))
            return Outcome({"content": f"arguments do not fit: {places}", "is_error": True})
        try:
            content = bridge.call_within(self._attempt.lease, tool.function, **keywords)
        except Exception as error:
            emit(events.ToolFailed(call=key, name=tool.name, code=type(error).__name__, message=str(error)[:500]))
            raise
        content = to_jsonable_python(content)
        emit(events.ToolReturned(call=key, name=tool.name, content=content))
        return Outcome({"content": content, "is_error": False})


class _Unfit(Exception):
    """An answer that does not fit the schema, and why."""

    def __init__(self, reason: OutputInvalidError, response: GatewayResponse) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.response = response


def _repair(reason: OutputInvalidError) -> str:
    return f"That does not fit: {reason}. Answer again with JSON that fits the schema, and nothing else."


def _answer(response: GatewayResponse) -> Any:
    return response.text if response.output is None else response.output


class _Speaker:
    """Turns chunks into the events of one message."""

    def __init__(self, message: str, emit: Emit) -> None:
        self._message = message
        self._emit = emit
        self._has_spoken = False

    def say(self, chunk: Chunk) -> None:
        """Tell of a chunk, if it is text."""
        if not isinstance(chunk, PartDelta) or not chunk.text:
            return
        if chunk.kind == "text":
            if not self._has_spoken:
                self._has_spoken = True
                self._emit(events.MessageStarted(message=self._message))
            self._emit(events.MessageDelta(message=self._message, text=chunk.text))
        elif chunk.kind == "thinking":
            self._emit(events.ThoughtDelta(message=self._message, text=chunk.text))

    def finish(self, finish: str) -> None:
        """The message is whole."""
        if self._has_spoken:
            self._emit(events.MessageCompleted(message=self._message, finish=finish))
