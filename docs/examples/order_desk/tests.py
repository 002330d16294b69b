"""The example's tests, with unittest: ``python manage.py test order_desk``."""

from pathlib import Path

from django.core.management import call_command
from django.test import TestCase

from django_ais.testing import AgentTestMixin, scripted
from order_desk.models import Order


class OrderDeskTest(AgentTestMixin, TestCase):
    """The workflow, from a question to an answer."""

    @classmethod
    def setUpTestData(cls) -> None:
        """The workflow and one order are there."""
        call_command("import_workflow", str(Path(__file__).with_name("order_desk.yaml")), verbosity=0)
        Order.objects.create(number="A-17", question="Where is my parcel?")

    def test_a_question_is_sorted_and_answered(self) -> None:
        with scripted([{"topic": "refund"}, "It is back."]):
            self.run_now("order_desk", {"order": "A-17"})
        assert Order.objects.get().answer == "It is back."
