"""A real job that every machine has: parse the standard library, on local daemons and without."""

from __future__ import annotations

import ast
import sysconfig
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import mirai
from mirai.api.progress import Progress
from mirai.runtime.profile import cores

LIBRARY = Path(sysconfig.get_path("stdlib"))
LEFT_OUT = "dist-packages", "site-packages", "test"  # other people's; and what not every machine has


@dataclass(frozen=True, order=True)
class Function:
    """Where a function is, and how many lines it has."""

    lines: int
    name: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.name}, {self.lines:,} lines ({_short(self.file)}:{self.line})"


@dataclass(frozen=True)
class Module:
    """What there is in a file; `seconds` of processor time went into parsing it."""

    file: Path
    seconds: float
    lines: int
    functions: int
    longest: Function | None


def analyse(file: Path) -> Module:
    """Parse a file.

    Raises:
        SyntaxError: this version of Python cannot.
    """
    source = file.read_bytes()
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # others wrote it
        tree = ast.parse(source, str(file))
    seconds = time.process_time() - start
    functions = [
        Function((node.end_lineno or node.lineno) - node.lineno + 1, node.name, file, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return Module(file, seconds, source.count(b"\n"), len(functions), max(functions, default=None))


def demo(n: int | None = None) -> int:
    """Analyse all files on `n` daemons, then again in this process; print what was found, and what was saved.

    Args:
        n: one for each core, two at least, unless given.
    """
    n = n or max(2, cores())
    files = [file for file in sorted(LIBRARY.rglob("*.py")) if _short(file).parts[0] not in LEFT_OUT]
    print(f"Parsing {len(files)} modules of the standard library, first on {n} daemons, then here.", flush=True)

    begun = time.perf_counter()
    with mirai.daemons(n):
        ready = time.perf_counter()
        results = mirai.mirai_map(files, analyse).collect(progress=f"{n} daemons")
        parallel = time.perf_counter() - ready
    alone = _seconds_alone(files)

    failures = {file: result for file, result in zip(files, results, strict=True) if mirai.is_error_value(result)}
    modules: list[Module] = [result for result in results if not mirai.is_error_value(result)]
    slowest = max(modules, key=lambda module: module.seconds)
    rows = {
        "files": f"{len(modules):,}",
        "lines": f"{sum(module.lines for module in modules):,}",
        "functions": f"{sum(module.functions for module in modules):,}",
        "longest function": max(module.longest for module in modules if module.longest),
        "slowest to parse": f"{_short(slowest.file)}, {slowest.seconds:.2f} s",
        "not parsed": len(failures),
        **{f"  {_short(file)}": failure for file, failure in failures.items()},
        f"on {n} daemons": f"{parallel:.1f} s, after {ready - begun:.1f} s to start them",
        "in one process": f"{alone:.1f} s",
        "time saved": f"{1 - parallel / alone:.0%}",
    }
    width = max(map(len, rows))
    print(*(f"{name:{width}}  {value}" for name, value in rows.items()), sep="\n")
    return 0


def _seconds_alone(files: list[Path]) -> float:
    start = time.perf_counter()
    with Progress(len(files), "1 process") as bar:
        failed = 0
        for done, file in enumerate(files, start=1):
            try:
                analyse(file)
            except Exception:
                failed += 1
            bar.update(done, failed)
    return time.perf_counter() - start


def _short(file: Path) -> Path:
    return file.relative_to(LIBRARY)
