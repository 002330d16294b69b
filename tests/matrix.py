"""Small lists of tox environments that cover the matrix, and a check of an environment's name.

    python3 tests/matrix.py smoke               each choice once
    python3 tests/matrix.py pairwise            each two choices together at least once
    python3 tests/matrix.py full                all of them; not to be run on a small machine
    python3 tests/matrix.py smoke --run -- tests/unit    run them with tox, one after another; pytest gets the rest
    python3 tests/matrix.py check NAME          whether it names exactly one of each factor; with --installed also
                                                whether this Python and its Django are the ones it names

The matrix itself is ``env_list`` of tox.ini; nothing here repeats it. Needs Python alone; ``--run`` needs tox.
"""

from __future__ import annotations

import configparser
import itertools
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("py", "dj", "queue_", "bus_", "db_")  # how the factors of an environment begin, in the order of its name
SMALL = 8  # processors: with fewer, the full list takes a day
STRENGTH = {"smoke": 1, "pairwise": 2}

Environment = tuple[str, ...]  # its factors, one of each kind


def matrix(path: Path = ROOT / "tox.ini") -> list[Environment]:
    """Every environment of the file's ``env_list`` that is made of factors."""
    parser = configparser.RawConfigParser()
    parser.read_string(path.read_text())
    names = [name for line in parser["tox"]["env_list"].split() for name in expand(line)]
    return [tuple(name.split("-")) for name in names if "-" in name]


def expand(pattern: str) -> Iterator[str]:
    """The names that a pattern with ``{a,b}`` stands for."""
    before, brace, rest = pattern.partition("{")
    if not brace:
        yield pattern
        return
    choices, _, after = rest.partition("}")
    for choice, end in itertools.product(choices.split(","), list(expand(after))):
        yield before + choice + end


def covering(environments: Sequence[Environment], strength: int) -> list[Environment]:
    """Environments in which each combination of ``strength`` choices is found that the whole matrix has.

    Greedy: the one that adds most comes next, of equals the one whose choices were used least, then the first. The
    same matrix gives the same list.
    """
    missing = combinations(environments, strength)
    chosen: list[Environment] = []
    while missing:
        best = max(environments, key=partial(_gain, missing, chosen, strength))
        chosen.append(best)
        missing -= combinations([best], strength)
    return chosen


def _gain(missing: set[Environment], chosen: list[Environment], strength: int, each: Environment) -> tuple[int, int]:
    used = sum(choice in other for choice in each for other in chosen)
    return len(combinations([each], strength) & missing), -used


def combinations(environments: Iterable[Environment], strength: int) -> set[Environment]:
    """Every set of ``strength`` choices that some environment has together."""
    return {some for each in environments for some in itertools.combinations(each, strength)}


def chosen_list(name: str) -> list[Environment]:
    """The list of that name. Raises `AssertionError` if it does not cover what it says."""
    environments = matrix()
    if name == "full":
        return environments
    found = covering(environments, STRENGTH[name])
    missing = combinations(environments, STRENGTH[name]) - combinations(found, STRENGTH[name])
    assert not missing, f"{name} leaves out {sorted(missing)}"
    return found


def problems(name: str, environments: Sequence[Environment]) -> list[str]:
    """What is wrong with an environment's name; tox itself takes a missing or a doubled factor in silence."""
    factors = name.split("-")
    known = {choice for each in environments for choice in each}
    found = [f"{factor!r} is no factor of the matrix" for factor in factors if factor not in known]
    for kind in KINDS:
        of_kind = [factor for factor in factors if factor.startswith(kind)]
        if len(of_kind) != 1:
            found.append(f"it must name one {kind.rstrip('_')} factor, and names {' and '.join(of_kind) or 'none'}")
    if not found and tuple(factors) not in environments:
        found.append("these do not go together, or stand in another order; env_list in tox.ini has what does")
    return found


def differences(name: str) -> list[str]:
    """Where this Python and its Django are not those that a name asks for: some package's own bounds may move them."""
    here = {"py": "{}{}".format(*sys.version_info), "dj": "".join(metadata.version("Django").split(".")[:2])}
    asked = {kind: factor.removeprefix(kind) for kind, factor in zip(KINDS, name.split("-"), strict=False)}
    return [f"it runs with {kind}{have}" for kind, have in here.items() if asked[kind] != have]


def interpreter(factor: str) -> Path | None:
    """The Python that a factor such as ``py312`` asks for: pyenv's newest, else one on PATH that starts."""
    version = f"{factor[2]}.{factor[3:]}"
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    by_pyenv = sorted(home.glob(f"versions/{version}.*/bin/python{version}"), key=_patch)
    on_path = shutil.which(f"python{version}")
    for program in [*reversed(by_pyenv), *([Path(on_path)] if on_path else [])]:
        if subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode == 0:
            return program
    return None


def _patch(program: Path) -> int:
    patch = program.parents[1].name.split(".")[2]
    return int(patch) if patch.isdigit() else -1  # a release candidate


def run_all(environments: Sequence[Environment], arguments: Sequence[str]) -> int:
    """Run them one after another and print what became of each; 0 only if every one was run and passed."""
    outcomes: dict[str, str] = {}
    for number, environment in enumerate(environments, 1):
        name = "-".join(environment)
        print(f"\n----- {number} of {len(environments)}: {name}", flush=True)
        outcomes[name] = run_one(name, arguments)
    print()
    for name, outcome in outcomes.items():
        print(f"{outcome:>7}  {name}")
    passed = list(outcomes.values()).count("passed")
    print(f"{passed} of {len(outcomes)} environments passed", flush=True)
    return 0 if passed == len(outcomes) else 1


def run_one(name: str, arguments: Sequence[str]) -> str:
    """Run an environment with tox; without its Python it is not run, which is no pass."""
    factor = name.split("-")[0]
    program = interpreter(factor)
    if program is None:
        print(f"!!!!! NOT RUN: no Python for {factor}. Install it, for example with pyenv, or put it on PATH.")
        return "NOT RUN"
    command = [*tox(), "run", "-e", name, "--discover", str(program), "--", *arguments]
    path = os.pathsep.join([str(program.parent), os.environ.get("PATH", "")])  # tox-uv looks there alone
    environment = {**os.environ, "PATH": path, "UV_PYTHON_DOWNLOADS": "never"}
    return "FAILED" if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode else "passed"


def tox() -> list[str]:
    """How tox is started: from the environment of `run.py test`, else from PATH."""
    ours = ROOT / ".venvs/test/bin/tox"
    if program := str(ours) if ours.exists() else shutil.which("tox"):
        return [program]
    sys.exit("matrix.py: tox is not installed; `python3 run.py test --version` makes .venvs/test, which has it.")


def main(arguments: list[str]) -> int:
    """Print or run a list, or check a name."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    parser = ArgumentParser(prog="matrix.py", description="Lists of tox environments that cover the matrix.")
    parser.add_argument("list", choices=["smoke", "pairwise", "full", "check"])
    parser.add_argument("name", nargs="?", help="the environment to check")
    parser.add_argument("--run", action="store_true", help="run the list with tox; what follows -- goes to pytest")
    parser.add_argument("--installed", action="store_true", help="check this Python and its Django too")
    options = parser.parse_args(arguments[:place])
    if (options.list == "check") != bool(options.name):
        parser.error("check needs one NAME, and no list does")
    if options.list == "check":
        found = problems(options.name, matrix()) or (differences(options.name) if options.installed else [])
        return parser.exit(1, f"{options.name}: {'; '.join(found)}.\n") if found else 0
    environments = chosen_list(options.list)
    if not options.run:
        print("\n".join("-".join(each) for each in environments))
        return 0
    if options.list == "full" and (os.cpu_count() or 1) < SMALL:
        parser.error(f"{len(environments)} environments are not for a machine with fewer than {SMALL} processors")
    return run_all(environments, arguments[place + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
