"""Signals, sent after commit with ``send_robust``; no correctness hangs on a receiver.

Every signal is keyword-only and carries ``job`` (the `JobPacket` as committed). A receiver that raises is logged and
changes nothing. A signal may be lost when a process dies after its commit: what must happen belongs into ``on_done``.
"""

from django.dispatch import Signal

job_queued = Signal()
job_started = Signal()
job_retried = Signal()
job_suspended = Signal()
job_succeeded = Signal()
job_failed = Signal()
job_cancelled = Signal()
run_finished = Signal()  # the root of a run became terminal; carries `job`, the root
