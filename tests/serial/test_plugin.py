"""The hook: serializers by name, and no library before it is needed."""

from __future__ import annotations

import subprocess
import sys

from mirai_serial.plugin import mirai_serializers


def test_serializers_have_names():
    """`daemons(serial=["arrow"])` asks for them."""
    assert {name: serializer.cls for name, serializer in mirai_serializers().items()} == {
        "arrow": "pyarrow.Table",
        "polars": "polars.DataFrame",
    }


def test_no_library_is_imported_before_it_is_met():
    """Each takes longer to import than a daemon to start, and most daemons need none."""
    loaded = subprocess.check_output(
        [sys.executable, "-c", "import mirai_serial.plugin, sys; print(*sys.modules)"], text=True, timeout=30
    ).split()

    assert "mirai_serial.polars" in loaded
    assert {"numpy", "polars", "pyarrow", "torch"}.intersection(loaded) == set()
