"""ConfigError."""

from __future__ import annotations

import pickle

from mirai.config.error import ConfigError


def test_an_error_begins_with_its_place():
    """Editors and terminals make a link of it."""
    assert str(ConfigError("what", "mirai.yaml", 3, 5)) == "mirai.yaml:3:5: what"
    assert str(ConfigError("what", "mirai.yaml", 3)) == "mirai.yaml:3: what"
    assert str(ConfigError("what", "mirai.yaml")) == "mirai.yaml: what"


def test_an_error_survives_pickling():
    """It may cross a process."""
    error = pickle.loads(pickle.dumps(ConfigError("what", "mirai.yaml", 3, 5)))

    assert (error.problem, error.file, error.line, error.column) == ("what", "mirai.yaml", 3, 5)
