"""What every pytest test of the example gets: the workflow is imported, and no gateway calls out."""

from pathlib import Path

import pytest
from django.core.management import call_command

from order_desk.models import Order

pytest_plugins = ["django_ais.testing.fixtures"]


@pytest.fixture(autouse=True)
def imported(db: None, ais_no_requests: None) -> None:
    """The workflow and one order are there."""
    call_command("import_workflow", str(Path(__file__).with_name("order_desk.yaml")), verbosity=0)
    Order.objects.create(number="A-17", question="Where is my parcel?")
