"""The handler of the suite: tells the ledger of each message, does what it was ordered, else what the core does.

An order is a file in the folder ``orders``, named by a job's id: a JSON list of answers, one for each delivery; the
last one stands for all that follow.

``run``: the core's handler. ``reject``: the same, answered REJECT afterwards. ``raise``: the same, and an exception
instead of the answer. ``retry:S``: nothing is done, RETRY in S seconds. ``stand:GATE``: wait until somebody opens the
named pipe, then run. ``ack``: nothing is done, ACK; so it is with every id that begins with `LIGHT`, without an
order.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from uuid import UUID

from django_ais.conformance import ledger
from django_ais.queues import ACK, Disposition, Outcome, retry_in
from django_ais.runtime import runner
from django_ais.runtime.leases import keeper
from django_ais.runtime.occupancy import occupancy
from django_ais.runtime.source import due_jobs

LIGHT = "00000000-"  # the beginning of ids that belong to no row, where many messages are wanted quickly


def handle(job_id: str) -> Outcome:
    """Answer a message as ordered. Raises only where the order says so."""
    book = ledger.here()
    answer = next_answer(ledger.folder() / "orders", job_id)
    book.write("handed", job=job_id, answer=answer)
    try:
        outcome = obey(answer, job_id, book)
    except BrokenHandler:
        book.write("raised", job=job_id)
        raise
    book.write("returned", job=job_id, disposition=outcome.disposition.value)
    return outcome


def next_answer(orders: Path, job_id: str) -> str:
    """What was ordered for this delivery of the job; deliveries are counted in a file beside the order."""
    if job_id.startswith(LIGHT):
        return "ack"
    order = orders / Path(job_id).name
    if not order.is_file():
        return "run"
    answers: list[str] = json.loads(order.read_text())
    count = os.open(f"{order}.count", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(count, b".")
        number = os.fstat(count).st_size
    finally:
        os.close(count)
    return answers[min(number, len(answers)) - 1]


def obey(answer: str, job_id: str, book: ledger.Ledger) -> Outcome:
    """Do what was ordered."""
    verb, _, argument = answer.partition(":")
    if verb == "ack":
        return ACK
    if verb == "retry":
        let_go(job_id)
        return retry_in(float(argument))
    if verb == "stand":
        stand(argument)
        book.write("goes on", job=job_id)
    outcome = runner.handle(job_id)
    if verb == "raise":
        raise BrokenHandler("the suite ordered the handler to raise")
    return Outcome(Disposition.REJECT) if verb == "reject" else outcome


def let_go(job_id: str) -> None:
    """Leave a row that was claimed for this delivery as an attempt does whose database fails: its lease runs out."""
    reserved = due_jobs.take(UUID(job_id))
    if reserved is not None:
        keeper().forget(reserved[1])
        occupancy.leave()


def stand(gate: str) -> None:
    """Wait until somebody opens a named pipe."""
    pipe = os.open(gate, os.O_RDONLY)
    try:
        os.read(pipe, 1)
    finally:
        os.close(pipe)


class BrokenHandler(RuntimeError):
    """Raised by order: the contract says that a handler does not raise, and drivers meet those that do."""
