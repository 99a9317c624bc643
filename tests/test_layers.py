"""Imports point down, only nng.py imports pynng, and `import mirai` stays light."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "packages/mirai-core/src/mirai"

HEAVY = {
    "asyncio",
    "cloudpickle",
    "cryptography",
    "joblib",
    "mirai_launchers",
    "mirai_serial",
    "numpy",
    "opentelemetry",
    "pluggy",
    "pynng",
    "yaml",
}


def test_import_mirai_is_light():
    """A daemon's first result waits for its imports."""
    loaded = subprocess.check_output(
        [sys.executable, "-c", "import mirai, sys; print(*sys.modules)"], text=True, timeout=30
    ).split()

    assert "mirai" in loaded
    assert HEAVY.intersection(loaded) == set()


def test_only_nng_imports_pynng():
    """Local daemons, and most tests, must do without it; and its faults must stop in one place."""
    importers = [str(path.relative_to(CORE)) for path in CORE.rglob("*.py") if "pynng" in imported(path)]

    assert importers == ["transport/nng.py"]


def test_imports_point_down():
    """A layer can be read, and tested, without those above it."""
    if not (linter := shutil.which("lint-imports", path=Path(sys.executable).parent)):
        pytest.skip("import-linter is not installed; `tox run -e layers` does the same")

    linted = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert linted.returncode == 0, linted.stdout + linted.stderr


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports anywhere, also within functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}
