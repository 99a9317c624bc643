"""Which file of profiles is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirai.config.error import ConfigError
from mirai.config.find import find_files
from mirai.config.profiles import read_profiles


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A home and a working directory without any."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("MIRAI_CONFIG", raising=False)


def make(path):
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_the_nearest_file_is_found(monkeypatch):
    """What is said now goes before what was set once, and that before what lies about."""
    home = make("~/.config/mirai/mirai.yaml")
    assert find_files() == [home]

    make("mirai.yaml")
    assert find_files() == [Path("mirai.yaml")]

    monkeypatch.setenv("MIRAI_CONFIG", str(make("~/set.yaml")))
    assert find_files() == [Path("~/set.yaml").expanduser()]

    assert find_files(make("named.yaml")) == [Path("named.yaml")]


def test_no_file_anywhere_is_an_error_that_says_where_it_was_looked_for():
    """The first thing that a new user meets."""
    assert find_files() == []
    with pytest.raises(
        ConfigError, match=r"\./mirai\.yaml: .*/\.config/mirai/mirai\.yaml: .*--config or \$MIRAI_CONFIG"
    ):
        read_profiles()


def test_a_file_that_is_named_must_be_there(monkeypatch):
    """Another one in its place would be worse than none."""
    make("mirai.yaml")

    with pytest.raises(ConfigError, match=r"named\.yaml: there is no such file: correct its name"):
        find_files("named.yaml")

    monkeypatch.setenv("MIRAI_CONFIG", "gone.yaml")
    with pytest.raises(ConfigError, match=r"gone\.yaml: there is no such file: correct \$MIRAI_CONFIG"):
        find_files()
