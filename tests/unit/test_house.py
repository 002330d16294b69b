"""Every import contract turns red when it is violated, and the pure floor needs no Django."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "django_ais"
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
PURE = [module.removeprefix("*.") for module in CONTRACTS["pure"]["source_modules"]]

MAX_LINES = 350
DRAWERS = {"utils", "helpers", "common", "mixins", "constants"}

# contract, the module that imports, what it imports
VIOLATIONS = [
    ("floors", "events", "django_ais.jobs"),
    ("floors", "queues", "django_ais.buses"),
    ("floors", "conf", "django_ais.models"),
    ("floors", "models", "django_ais.runtime.engine"),
    ("floors", "a_module_without_a_floor", "json"),
    ("runtime", "runtime.journal", "django_ais.runtime.lifecycle"),
    ("runtime", "runtime.steps", "django_ais.runtime.turns"),
    ("runtime", "runtime.a_module_without_a_floor", "json"),
    ("language", "workflows.spec", "django_ais.workflows.graph"),
    *[("pure", module, "django.conf") for module in PURE],
    ("pure", "strategies", "asgiref.sync"),
    ("pure", "workflows.graph", "channels"),
    ("queue-drivers", "backends.queue.acme", "django_ais.models"),
    ("queue-drivers", "backends.queue.acme", "django_ais.buses"),
    ("bus-drivers", "backends.bus.acme", "django_ais.runtime.sql"),
    ("bus-drivers", "backends.bus.acme", "django_ais.backends.queue.memory"),
    ("gateway-drivers", "backends.gateway.acme", "django_ais.conf"),
    ("leaves", "registry", "django_ais.backends.queue.memory"),
    ("leaves", "testing", "django_ais.backends.gateway.scripted"),
    ("yaml", "workflows.spec", "yaml"),
    ("yaml", "conf", "yaml"),
    ("stevedore", "conf", "stevedore"),
    *[("clients", "runtime.relay", client) for client in CONTRACTS["clients"]["forbidden_modules"]],
]

IMPORT_WITHOUT_DJANGO = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("django", "channels", "asgiref"):
            raise ImportError(f"the pure floor may not import {name}")

sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


@pytest.fixture
def house(tmp_path):
    """A copy of the package and its contracts, to plant violations in."""
    shutil.copytree(PACKAGE, tmp_path / "django_ais", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(house: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", *arguments]
    return subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)


def plant(house: Path, importer: str, imported: str) -> None:
    """Append an import to a module; modules of ours that are missing are made."""
    source = module_file(house, f"django_ais.{importer}")
    if imported.startswith("django_ais."):
        module_file(house, imported)
    with source.open("a") as file:
        file.write(f"\nimport {imported}\n")


def module_file(house: Path, module: str) -> Path:
    path = house.joinpath(*module.split("."))
    if path.is_dir():
        return path / "__init__.py"
    for folder in [parent for parent in path.parents if parent.is_relative_to(house / "django_ais")]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    path.with_suffix(".py").touch()
    return path.with_suffix(".py")


def pure_modules() -> list[str]:
    files = [file for name in PURE for file in (*PACKAGE.glob(f"{name}.py"), *PACKAGE.glob(f"{name}/*.py"))]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def test_the_house_stands(house):
    done = lint(house)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("contract", "importer", "imported"), VIOLATIONS)
def test_a_violation_breaks_its_contract(house, contract, importer, imported):
    plant(house, importer, imported)

    done = lint(house, "--contract", contract)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "0 kept, 1 broken" in done.stdout
    assert f"django_ais.{importer}" in done.stdout


def test_every_contract_is_violated_once():
    assert {contract for contract, _, _ in VIOLATIONS} == set(CONTRACTS)


def test_the_pure_contract_covers_every_floor_from_the_strategies_down():
    floors = [layer.replace("(", "").replace(")", "").split(" | ") for layer in CONTRACTS["floors"]["layers"]]

    below = floors[floors.index(["strategies"]) :]

    assert {module for floor in below for module in floor} == set(PURE)


def test_the_pure_floor_imports_without_django():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT_DJANGO, "django_ais", *pure_modules()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_the_blocker_of_django_blocks():
    """The negative control of the test above."""
    command = [sys.executable, "-c", IMPORT_WITHOUT_DJANGO, "django.conf"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "the pure floor may not import django" in done.stderr


def modules() -> list[Path]:
    return [file for file in sorted(PACKAGE.rglob("*.py")) if "migrations" not in file.parts]


def test_no_module_is_a_drawer():
    assert [file for file in modules() if DRAWERS & {file.stem, file.parent.name}] == []


def test_no_module_is_longer_than_the_eye_takes_in():
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in modules()}

    assert {file: count for file, count in lines.items() if count > MAX_LINES} == {}
