"""The hook: serializers by name, and no library before it is needed."""

from __future__ import annotations

import subprocess
import sys

from mirai import daemons, mirai
from mirai_serial.plugin import mirai_serializers
from tests.serial import tasks


def test_serializers_have_names():
    """`daemons(serial=["arrow"])` asks for them."""
    first = {
        name: serializer.cls if isinstance(serializer.cls, str) else serializer.cls[0]
        for name, serializer in mirai_serializers().items()
    }

    assert first == {
        "arrow": "pyarrow.Table",
        "numpy": "numpy.ndarray",
        "polars": "polars.DataFrame",
        "torch": "torch.Tensor",
    }


def test_no_library_is_imported_before_it_is_met():
    """Each takes longer to import than a daemon to start, and most daemons need none."""
    loaded = subprocess.check_output(
        [sys.executable, "-c", "import mirai_serial.plugin, sys; print(*sys.modules)"], text=True, timeout=30
    ).split()

    assert "mirai_serial.polars" in loaded
    assert {"numpy", "polars", "pyarrow", "torch"}.intersection(loaded) == set()


def test_a_daemon_imports_no_plugin_before_it_needs_it():
    """Nor looks for any: it is told their names."""
    with daemons(1):
        assert (
            mirai(tasks.loaded, "importlib.metadata", "mirai.plugins", "mirai_serial", "numpy", "pyarrow").result()
            == []
        )
