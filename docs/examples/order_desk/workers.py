"""The jobs of `order_desk.yaml`."""

from collections.abc import Mapping, Sequence
from typing import Any

from django_ais import registry
from django_ais.workers import ActiveJob, BaseWorker, ChildResult
from order_desk.models import Order
from order_desk.strategies import ReplyStrategy, SortStrategy


class OrderWorker(BaseWorker):
    """Reads the order that the payload names."""

    def prepare(self, job: ActiveJob) -> Mapping[str, Any]:
        """The order's number and question, recorded: a later attempt sees the same."""
        order = Order.objects.get(number=job.payload["order"])
        return {"number": order.number, "question": order.question}


@registry.register("desk.sort")
class SortWorker(OrderWorker):
    """Finds out what a question is about."""

    strategy_class = SortStrategy

    def on_done(self, job: ActiveJob, result: Any, children: Sequence[ChildResult]) -> None:
        """Note the topic, in the transaction that records the result."""
        Order.objects.filter(number=job.payload["order"]).update(topic=result["topic"])


@registry.register("desk.reply")
class ReplyWorker(OrderWorker):
    """Writes an answer."""

    strategy_class = ReplyStrategy

    def on_done(self, job: ActiveJob, result: Any, children: Sequence[ChildResult]) -> None:
        """Keep the answer."""
        Order.objects.filter(number=job.payload["order"]).update(answer=result)
