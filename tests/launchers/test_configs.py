"""The files in configs/: each starts daemons for real, on a fake where nothing else is here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mirai
from mirai import plugins
from mirai.testing import FakeScheduler
from tests.launchers.backends import require

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def run(monkeypatch, home, impatient):
    """Sets the profile of a file, and returns what two tasks say, and by what they were launched."""

    def run(name):
        monkeypatch.setenv("MIRAI_N", "2")
        monkeypatch.setenv("MIRAI_PYTHON", sys.executable)
        monkeypatch.setenv("MIRAI__PROFILES__DEFAULT__URL", "tls+tcp://127.0.0.1:0")  # not every interface
        with mirai.profiles(CONFIGS / f"{name}.yaml"):
            said = mirai.collect_mirai([mirai.mirai(pow, 2, n, _timeout=40) for n in range(2)])
            return said, {row.launcher for row in mirai.status().launches}

    return run


@pytest.mark.parametrize("name", ["slurm", "sge", "pbs", "lsf"])
def test_a_schedulers_file_starts_daemons(run, name):
    """Users begin with a copy of it."""
    with FakeScheduler(name):
        assert run(name) == ([1, 2], {name})


def test_that_of_any_command_starts_daemons(run):
    """By a shell, unless another command is given."""
    assert run("remote_config") == ([1, 2], {"remote_config"})


def test_there_is_a_file_for_each_launcher():
    """One that is missing is written by every user for himself."""
    launches = [mirai.read_profiles(path)["default"].launcher for path in CONFIGS.glob("*.yaml")]

    assert sorted(launch.launcher.name for launch in launches if launch is not None) == sorted(plugins.launchers())


def test_that_of_slurm_does_so_on_a_real_one(slurm, run):
    """With what the file says for `options`."""
    assert run("slurm") == ([1, 2], {"slurm"})


def test_that_of_grid_engine_does_so_on_a_real_one(sge, run):
    """With what the file says for `options`."""
    assert run("sge") == ([1, 2], {"sge"})


def test_that_of_pbs_does_so_on_slurms_imitation(torque, run):
    """With what the file says for `options`."""
    assert run("pbs") == ([1, 2], {"pbs"})


def test_that_of_an_http_api_does_so_on_slurms(slurm, run, monkeypatch):
    """With the headers and the body that the file has."""
    require("SLURM_REST_URL", "slurm")
    monkeypatch.setenv("USER", require("SLURM_REST_USER", "slurm"))
    assert run("http") == ([1, 2], {"http"})
