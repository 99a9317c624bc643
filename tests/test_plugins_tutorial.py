"""docs/plugins.md, word for word: a third distribution, installed into an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
PROGRAM = """
import mirai

print(mirai.collect_mirai([mirai.mirai(pow, 2, n) for n in range(3)]), mirai.status().launches[0].launcher)
"""


def files():
    """What the page says belongs into each file: a block's first line names it."""
    found = {}
    for block in re.findall(r"^```\w+.*?\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        if name := re.search(r"[\w.]+\.(py|toml|yaml)", block.partition("\n")[0]):
            found[name[0]] = block
    return found


def install(environment, sources):
    """What pip does with a wheel of one module: put it beside its metadata. To build one wants a network."""
    project = tomllib.loads(sources["pyproject.toml"])["project"]
    (site,) = environment.glob("lib/python*/site-packages")
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (site / "mirai_qrun.py").write_text(sources["mirai_qrun.py"])
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(points)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that has ours, and the new distribution."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, symlinks=True)
    (site,) = directory.glob("lib/python*/site-packages")
    # addsitedir, since the packages may be editable: those are .pth files, too.
    (site / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    install(directory, files())
    return directory


def run(environment, *words, cwd):
    """A Python of that environment, which has nothing to do with the tests' own; what is in `cwd` can be run."""
    python = str(environment / "bin" / "python")
    variables = {**os.environ, "PYTHON": python, "PATH": f"{cwd}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run([python, *words], cwd=cwd, env=variables, capture_output=True, text=True, timeout=50)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_it_is_found(environment, tmp_path):
    """By its entry point alone."""
    rows = [line.split() for line in run(environment, "-m", "mirai.launch", "plugins", cwd=tmp_path).splitlines()]

    assert ["launcher", "qrun", "mirai-qrun", "0.1.0"] in rows


def test_it_passes_the_suite_of_launchers(environment, tmp_path):
    """As its author would run it."""
    (tmp_path / "test_qrun.py").write_text(files()["test_qrun.py"])

    said = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_qrun.py", cwd=tmp_path)

    assert re.search(r"^\d\d passed", said, re.MULTILINE)


def test_a_profile_can_name_it(environment, tmp_path):
    """Its options are keys."""
    sources = files()
    (tmp_path / "mirai.yaml").write_text(sources["mirai.yaml"])
    (tmp_path / "program.py").write_text(PROGRAM)
    stand_in = re.search(r'STAND_IN = """(.*?)"""', sources["test_qrun.py"], re.DOTALL)[1]
    (tmp_path / "qrun").write_text(stand_in)
    (tmp_path / "qrun").chmod(0o755)

    assert run(environment, "-m", "mirai.launch", "run", "program.py", cwd=tmp_path) == "[1, 2, 4] qrun\n"
