"""The hook: what it hands over is what a launcher must be."""

from __future__ import annotations

import dataclasses

import pytest

from mirai_launchers.plugin import mirai_launchers


def test_these_are_all():
    """`mirai.launcher(kind)` and YAML profiles know them by these names."""
    assert set(mirai_launchers()) == {
        "remote_config",
        "slurm",
        "sge",
        "pbs",
        "lsf",
        "ssh",
        "tunnel",
        "http",
        "dask",
        "ray",
    }


@pytest.mark.parametrize(("name", "launcher"), mirai_launchers().items())
def test_a_launcher_is_a_frozen_dataclass_that_tells_its_options(name, launcher):
    """YAML profiles, and what explains them, are made from it."""
    assert launcher.name == name
    assert launcher.__dataclass_params__.frozen
    assert [field.name for field in dataclasses.fields(launcher) if f"{field.name}:" not in launcher.__doc__] == []
