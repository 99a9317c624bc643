"""The demo, on a library that takes less time."""

from __future__ import annotations

import pytest

from mirai import demo, launch


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Three files: one is fine, one is not Python, one is not ours."""
    (tmp_path / "fine.py").write_text("def short(): pass\n\nasync def long():\n    def inner():\n        pass\n")
    (tmp_path / "old.py").write_text("print 'hello'\n")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages/theirs.py").write_text("def theirs(): pass\n")
    monkeypatch.setattr(demo, "LIBRARY", tmp_path)
    return tmp_path


def test_the_demo_tells_what_it_found_and_what_it_took(library, capsys):
    """Whoever has just installed it sees at once whether it works, and pays."""
    assert launch.main(["demo", "-n", "2"]) == 0

    captured = capsys.readouterr()
    first, *lines = captured.out.splitlines()
    table = dict(line.strip().split("  ", maxsplit=1) for line in lines)
    found = {name: value.strip() for name, value in table.items()}
    assert first == "Parsing 2 modules of the standard library, first on 2 daemons, then here."
    assert found["files"] == "1"
    assert found["lines"] == "5"
    assert found["functions"] == "3"
    assert found["longest function"] == "long, 3 lines (fine.py:3)"
    assert found["slowest to parse"].startswith("fine.py, 0.")
    assert found["not parsed"] == "1"
    assert found["old.py"].startswith("SyntaxError: ")
    assert found["time saved"].endswith("%")
    assert "2 daemons: 2/2" in captured.err
    assert "1 process: 2/2" in captured.err


def test_a_file_is_analysed(library):
    """Nested functions count, and so do asynchronous ones."""
    module = demo.analyse(library / "fine.py")

    assert (module.lines, module.functions) == (5, 3)
    assert module.longest == demo.Function(3, "long", library / "fine.py", 3)
