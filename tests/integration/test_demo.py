"""The demo, as a newcomer starts it: a child process with settings and an SQLite file of its own."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "document_intake"
MANAGE = FOLDER / "manage.py"
pytestmark = [
    pytest.mark.skipif(os.environ.get("AIS_TEST_DB") == "postgres", reason="the demo has an SQLite file of its own"),
    pytest.mark.timeout(60),
]


class Shown(NamedTuple):
    """How a demo ended: its exit code and what it printed."""

    code: int
    out: str
    errors: str


def environment_of(pace: float) -> dict[str, str]:
    """This process's environment, less what its tests are told by."""
    given = {key: value for key, value in os.environ.items() if not key.startswith(("AIS_", "DJANGO_"))}
    return {**given, "INTAKE_WORD_SECONDS": str(pace), "PYTHONIOENCODING": "utf-8"}


def demo(*arguments: str | Path, pace: float = 0.001) -> Shown:
    """Run it in a pipe, faster than people would want it."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / "demo.py"), *map(str, arguments)],
        env=environment_of(pace),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return Shown(done.returncode, done.stdout, done.stderr)


def query(folder: Path, text: str) -> list[Any]:
    """Rows of the database that a demo has left behind."""
    connection = sqlite3.connect(folder / "intake.sqlite3")
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


SUMMARIES = """
    SELECT summary.text, page.text, document.text FROM document_intake_summary summary
    JOIN document_intake_page page ON page.id = summary.page_id
    JOIN document_intake_document document ON document.id = page.document_id ORDER BY page.id
"""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shown, Path]:
    """The demo without arguments, and its folder."""
    folder = tmp_path_factory.mktemp("demo") / "kept"
    return demo("--keep", folder, pace=0.01), folder


def test_the_demo_succeeds_in_a_pipe(shipped: tuple[Shown, Path]) -> None:
    """It exits with 0, complains of nothing, and ends by saying how to go on."""
    shown, _ = shipped
    assert (shown.code, shown.errors) == (0, "")
    assert "run.succeeded" in shown.out
    assert "DJANGO_AIS = {" in shown.out
    assert "\x1b" not in shown.out


def test_the_demo_shows_a_retry_and_streaming_text(shipped: tuple[Shown, Path]) -> None:
    """One call met a rate limit and came again; the text of a page arrived in several pieces."""
    shown, _ = shipped
    texts = len(re.findall(r"message\.completed", shown.out))
    assert len(re.findall(r"job\.retried .*retry 1 of 2 in 1\.5 s: rate limited", shown.out)) == 1
    assert shown.out.count("message.delta") > 2 * texts > 0


def test_summaries_are_sentences_of_the_documents(shipped: tuple[Shown, Path]) -> None:
    """Every page has one summary, each of whose sentences stands in the page letter for letter; all are printed."""
    shown, folder = shipped
    pages = query(folder, "SELECT count(*) FROM document_intake_page")[0][0]
    found = query(folder, SUMMARIES)
    printed = " ".join(shown.out.split())
    assert len(found) == pages
    for summary, page, document in found:
        sentences = summary.split("\n\n")
        assert 1 <= len(sentences) <= 2
        for sentence in sentences:
            assert sentence in page
            assert sentence in document
            assert " ".join(sentence.split()) in printed


def test_fields_are_slices_of_the_documents(shipped: tuple[Shown, Path]) -> None:
    """Each document is filed with a kind and a title, and what was found in it stands in it."""
    _, folder = shipped
    documents = query(folder, "SELECT kind, title, text FROM document_intake_document")
    fields = query(
        folder,
        "SELECT field.text, document.text FROM document_intake_field field "
        "JOIN document_intake_document document ON document.id = field.document_id",
    )
    assert [kind for kind, _, _ in documents] == ["invoice", "report", "minutes"]
    assert all(title in text for _, title, text in documents)
    assert len(fields) > 20
    assert all(value in text for value, text in fields)


def random_document(chance: random.Random) -> tuple[str, list[str]]:
    """A text of random sentences, and the sentences."""
    known = ["".join(chance.choices("abcdefghijklmnoprtuvz", k=chance.randint(4, 9))) for _ in range(150)]
    sentences = [" ".join(chance.choices(known, k=chance.randint(6, 18))).capitalize() + "." for _ in range(90)]
    paragraphs = [" ".join(sentences[start : start + 6]) for start in range(0, len(sentences), 6)]
    return "\n\n".join(paragraphs), sentences


def test_a_text_nobody_has_seen_is_summarised_from_its_own_sentences(tmp_path: Path) -> None:
    """Summaries of random sentences are verbatim, and not merely the first of each page."""
    text, sentences = random_document(random.Random())
    file = tmp_path / "random words.txt"
    file.write_text(text, encoding="utf-8")
    shown = demo(file, "--keep", tmp_path / "kept")
    assert shown.code == 0, shown.errors
    found = query(tmp_path / "kept", SUMMARIES)
    chosen = [sentence for summary, _, _ in found for sentence in summary.split("\n\n")]
    assert len(chosen) == 2 * len(found) > 4
    assert set(chosen) <= set(sentences)
    assert any(not page.startswith(summary.replace("\n\n", " ")) for summary, page, _ in found)


def test_a_killed_worker_process_repeats_no_effect_and_loses_no_event(tmp_path: Path) -> None:
    """What `--crash` counts at its end, and what its rows say to somebody who counts for himself."""
    files = sorted((FOLDER / "documents").glob("*.md"))[:2]
    shown = demo("--crash", *files, "--keep", tmp_path / "kept", pace=0.03)
    assert shown.code == 0, shown.errors + shown.out[-2000:]
    assert shown.out.count("killed (SIGKILL)") == 1
    last = shown.out.splitlines()[-1]
    told = re.fullmatch(
        r"1 worker process killed; (\d+) executions? above one; (\d+) of \2 pages summarised; "
        r"0 effects twice, 0 events missing \(1\.\.(\d+) without a hole\)",
        last,
    )
    assert told, last
    calls = [line.split()[1] for line in (tmp_path / "kept" / "ledger.txt").read_text().splitlines() if "call" in line]
    assert int(told[1]) == len(calls) - len(set(calls)) > 0
    pages = query(tmp_path / "kept", "SELECT count(*) FROM document_intake_summary GROUP BY page_id")
    assert pages == [(1,)] * int(told[2])
    numbers = query(tmp_path / "kept", "SELECT seq FROM django_ais_agentevent ORDER BY seq")
    assert [number for (number,) in numbers] == list(range(1, int(told[3]) + 1))


@pytest.mark.parametrize("flags", [[], ["--crash"]], ids=["threads", "processes"])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, flags: list[str]) -> None:
    """Ctrl-C in the middle of a text: exit code 130, a word instead of a traceback, no folder and no process left."""
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / "demo.py"), *flags],
        env={**environment_of(0.05), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    assert process.stdout
    next(line for line in process.stdout if "message.delta" in line)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "Interrupted.\n")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.txt", None, "There is no file {path}."),
        ("empty.txt", b"", "{path} is empty; there is nothing to summarise."),
        ("blank.md", b" \n\f\t\n", "{path} is empty; there is nothing to summarise."),
        ("folder", "folder", "{path} is a folder; name the text files in it."),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0", "{path} is not a text file; the demo takes text and Markdown."),
        ("large.txt", b"A word. " * 200_000, "{path} has more than 1,000,000 bytes; the demo takes smaller files."),
        ("pages.txt", b"One.\f" * 501, "These files have 501 pages together; the demo takes 500."),
    ],
)
def test_a_file_that_cannot_be_taken_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | str | None, sentence: str
) -> None:
    """Exit code 2, a sentence that names the file and the fault, nothing else."""
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    assert demo(path) == Shown(2, "", f"{sentence.format(path=path)}\n")


def test_every_file_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    """Nobody has to mend one to hear of the next."""
    shown = demo(tmp_path / "a.txt", tmp_path, FOLDER / "README.md", tmp_path / "b.txt")
    assert shown.code == 2
    assert len(shown.errors.splitlines()) == 3


def test_texts_of_other_programs_are_read(tmp_path: Path) -> None:
    """A byte order mark, an old Windows encoding, carriage returns."""
    text = "Zoë paid €5 for it."
    files = {encoding: tmp_path / f"{encoding}.txt" for encoding in ("utf-8-sig", "cp1252", "utf-16")}
    for encoding, file in files.items():
        file.write_bytes(f"{text}\r\n".encode(encoding))
    shown = demo(*files.values(), "--keep", tmp_path / "kept")
    assert shown.code == 0, shown.errors
    assert [summary for summary, _, _ in query(tmp_path / "kept", SUMMARIES)] == [text] * len(files)


def test_a_folder_that_is_in_use_is_not_written_to(tmp_path: Path) -> None:
    """``--keep`` wants a new one."""
    (tmp_path / "mine.txt").write_text("mine")
    shown = demo("--keep", tmp_path)
    assert (shown.code, shown.errors) == (2, f"{tmp_path} is not empty; --keep wants a new folder.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_demos_migrations_are_whole(tmp_path: Path) -> None:
    """Its models and its migrations agree."""
    done = subprocess.run(
        [sys.executable, str(MANAGE), "makemigrations", "--check", "--dry-run"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "document_intake.settings", "INTAKE_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
