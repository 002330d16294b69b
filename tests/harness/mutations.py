"""The rules of `runtime/` that an interleaving needs, each with how to take it away and which tests must then fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = Path("django_ais/runtime")
FENCING = "tests/integration/test_fencing.py"
INTERLEAVINGS = "tests/integration/test_interleavings.py"
SETTLING = "tests/integration/test_settling.py"
NUMBERING = "tests/integration/test_numbering.py"
ANNOUNCING = "tests/integration/test_announcing.py"
CANCEL = "tests/integration/test_cancel.py"
BOTH, POSTGRES, SQLITE = ("postgres", "sqlite"), ("postgres",), ("sqlite",)


class Edit(NamedTuple):
    """Replace a text, which must be there, in a file of `runtime`."""

    file: str
    old: str
    new: str


class Mutation(NamedTuple):
    """A rule taken away: ``tests`` (pytest's arguments) pass with it and fail without it."""

    rule: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    databases: tuple[str, ...] = BOTH


MUTATIONS = [
    Mutation(
        "a fenced write asks for the epoch",
        tuple(Edit(file, "lease_epoch = %s AND", "%s IS NOT NULL AND") for file in ("sql.py", "combined.py")),
        (FENCING, "-k", "writes_nothing and the_epoch_alone_moves_on"),
    ),
    Mutation(
        "a fenced write asks for the owner",
        tuple(Edit(file, "AND lease_owner = %s", "AND %s IS NOT NULL") for file in ("sql.py", "combined.py")),
        (FENCING, "-k", "writes_nothing and the_epoch_used_again"),
    ),
    Mutation(
        "jobs are locked children first",
        (
            Edit(
                "sql.py",
                "list(found.select_for_update(no_key=True)",
                'list(found.order_by("depth", "id").select_for_update(no_key=True)',
            ),
        ),
        (f"{SETTLING}::test_a_cancel_and_a_settle_below_it_do_not_wait_in_a_circle",),
        POSTGRES,
    ),
    Mutation(
        "a settle locks its parent before it looks at it",
        (
            Edit(
                "engine.py",
                "(parent,) = sql.lock_jobs([current.parent_id])",
                "parent = JobPacket.objects.using(database.database()).get(id=current.parent_id)",
            ),
        ),
        (f"{SETTLING}::test_a_child_that_settles_while_its_parent_parks_wakes_it",),
        POSTGRES,
    ),
    Mutation(
        "a child is counted off its parent in one statement only while others are open",
        (Edit("combined.py", "AND open_children > 1 AND", "AND"),),
        (f"{SETTLING}::test_children_that_settle_at_once_wake_their_parent_once",),
        POSTGRES,
    ),
    Mutation(
        "a child is counted off in one statement only while its parent waits for its children",
        (Edit("combined.py", "AND waiting_on ->> 'reason' = 'children'", ""),),
        (f"{SETTLING}::test_a_child_of_a_parent_that_waits_for_a_person_is_counted_all_the_same",),
        POSTGRES,
    ),
    Mutation(
        "a step holds its job's row while it is written",
        (Edit("combined.py", "status = 'running' FOR SHARE)", "status = 'running')"),),
        (f"{INTERLEAVINGS}::test_who_claims_while_a_step_is_written_sees_the_step",),
        POSTGRES,
    ),
    Mutation(
        "a child's insertion holds its parent's row",
        (Edit("sql.py", 'share = " FOR SHARE" if is_postgres() else ""', 'share = ""'),),
        (f"{INTERLEAVINGS}::test_who_claims_while_a_child_is_inserted_sees_the_child",),
        POSTGRES,
    ),
    Mutation(
        "fences are read in a statement of their own, after the wait for the counters",
        (
            Edit(
                "flushing.py",
                "    last = sql.lock_counters(",
                "    early = sql.fences([x.job_id for x in leases])\n    last = sql.lock_counters(",
            ),
            Edit("flushing.py", "    fences = sql.fences([lease.job_id for lease in leases])", "    fences = early"),
        ),
        (f"{INTERLEAVINGS}::test_a_flush_that_waits_for_a_cancel_writes_nothing_after_it",),
        POSTGRES,
    ),
    Mutation(
        "a heartbeat passes over locked rows",
        (Edit("sql.py", 'FOR NO KEY UPDATE SKIP LOCKED)"', 'FOR NO KEY UPDATE)"'),),
        (f"{INTERLEAVINGS}::test_a_heartbeat_passes_over_a_row_that_its_own_settle_holds",),
        POSTGRES,
    ),
    Mutation(
        "a dispatch locks no row that others want",
        (
            Edit(
                "lifecycle.py",
                "    sql.insert_jobs(jobs)\n    columns.insert(JobCounters",
                '    database.execute("UPDATE django_ais_election SET owner = owner")\n'
                "    sql.insert_jobs(jobs)\n    columns.insert(JobCounters",
            ),
        ),
        (f"{INTERLEAVINGS}::test_a_dispatch_in_a_long_transaction_locks_nothing_that_others_want",),
        POSTGRES,
    ),
    Mutation(
        "announcements are batched for each savepoint",
        (Edit("database.py", "key = (handler, tuple(current.savepoint_ids))", "key = (handler, ())"),),
        (ANNOUNCING, "-k", "savepoint"),
    ),
    Mutation(
        "a batch dies with its transaction",
        (Edit("database.py", "if alive is not callbacks:", "if alive is None:"),),
        (ANNOUNCING, "-k", "after_a_rolled_back_one"),
    ),
    Mutation(
        "a cancel looks again for who was born while it waited",
        (
            Edit(
                "stopping.py",
                "        rows = sql.lock_jobs(list(locked))\n",
                "        rows = sql.lock_jobs(list(locked))\n        break\n",
            ),
        ),
        (CANCEL, "-k", "born"),
        POSTGRES,
    ),
    Mutation(
        "a step's transaction drains the buffer (PostgreSQL, one statement)",
        (
            Edit(
                "steps.py",
                "journal.record_step(self._attempt.lease, values, pending)",
                "journal.record_step(self._attempt.lease, values, [])",
            ),
        ),
        (f"{NUMBERING}::test_what_was_said_before_a_step_is_there_when_the_step_is",),
        POSTGRES,
    ),
    Mutation(
        "a step's transaction drains the buffer",
        (Edit("steps.py", "[*pending, *moved.drafts]", "moved.drafts"),),
        (f"{NUMBERING}::test_what_was_said_before_a_step_is_there_when_the_step_is",),
        SQLITE,
    ),
    Mutation(
        "who numbers holds the run's counters row",
        (Edit("sql.py", "found = found.select_for_update(no_key=True)", "found = found.all()"),),
        (f"{NUMBERING}::test_eight_writers_leave_no_hole_for_a_reader_who_looks_at_any_time",),
        POSTGRES,
    ),
    Mutation(
        "our transactions on SQLite write first",
        (Edit("database.py", '.upper() == "DEFERRED":', '.upper() == "NEVER":'),),
        (f"{INTERLEAVINGS}::test_a_transaction_that_reads_first_is_not_overtaken_by_a_writer",),
        SQLITE,
    ),
    Mutation(
        "a deadlock is retried",
        (Edit("database.py", "or not _is_deadlock(error)", "or True"),),
        (f"{INTERLEAVINGS}::test_a_deadlock_is_retried_as_a_whole",),
        POSTGRES,
    ),
]


def sources(mutation: Mutation) -> dict[Path, str]:
    """The mutated files. Raises ValueError if the code has changed and a text to replace is not there."""
    changed: dict[Path, str] = {}
    for edit in mutation.edits:
        path = RUNTIME / edit.file
        text = changed.get(path) or (ROOT / path).read_text()
        if edit.old not in text:
            raise ValueError(f"{path} has no {edit.old!r}: say how the rule {mutation.rule!r} is taken away now")
        changed[path] = text.replace(edit.old, edit.new)
    return changed


def copy_tree(to: Path) -> None:
    """Copy the package and the tests, so that nobody's tree is touched."""
    for name in ("django_ais", "tests", "docs/examples"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)


def run_tests(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy against the package of the copy, with a database of their own."""
    ours = ("AIS_TEST_", "DJANGO_SETTINGS_MODULE")  # the copy's conftest starts its own database, then sets Django up
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment |= {"PYTHONPATH": str(tree), "AIS_TEST_DB": os.environ.get("AIS_TEST_DB", "sqlite")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=300)
