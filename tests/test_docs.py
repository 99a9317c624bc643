"""Every public name has a docstring; every example runs, every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mirai

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/*.md")])

FENCE = re.compile(r"(?P<indent> *)```+ *(?P<info>.*)")
LINK = re.compile(r"\]\((?!\w+:)(?P<path>[^)#\s]+)[^)]*\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_every_public_name_has_a_docstring():
    """`help()` is where users look first."""
    assert [name for name in mirai.__all__ if not getattr(mirai, name).__doc__] == []


@pages
def test_examples_run(page, tmp_path):
    """An example that does not run costs its reader more than none.

    All blocks of a page that begin with ```python are one script, in their order. One that cannot run here
    begins with ```python no-run.
    """
    script = tmp_path / f"{page.stem}.py"
    script.write_text(example(page.read_text(encoding="utf-8")), encoding="utf-8")

    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=50
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pages
def test_links_lead_somewhere(page):
    """A reader who follows one is in need already."""
    prose = "\n".join(line for line, info in marked(page.read_text(encoding="utf-8")) if info is None)

    assert [path for path in LINK.findall(prose) if not (page.parent / path).exists()] == []


def example(text: str) -> str:
    """The script of a page, its lines where they stand in it, so that tracebacks point there."""
    return "\n".join(line if info == "python" else "" for line, info in marked(text))


def marked(text: str) -> list[tuple[str, str | None]]:
    """Each line, with what stands behind the ``` of its block; None outside of blocks and for the ``` itself."""
    lines: list[tuple[str, str | None]] = []
    info, indent = None, ""
    for line in text.splitlines():
        if fence := FENCE.fullmatch(line):
            info, indent = (fence["info"].strip(), fence["indent"]) if info is None else (None, "")
            lines.append(("", None))
        else:
            lines.append((line.removeprefix(indent), info))
    return lines
