"""What the suite needs to know of the driver."""

from django_ais.conformance import QueueProfile


class Spool(QueueProfile):
    """A folder of the suite's own, and the shortest patience."""

    driver = "queue_driver.spool.SpoolQueue"
    options = {"folder": "{folder}/spool", "patience_seconds": 3}
