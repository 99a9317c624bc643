"""The JSON Schema says of a file what reading it says."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from mirai.config.json_schema import json_schema

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_the_files_that_come_with_us_are_valid(validator, config):
    """An editor that underlines them would teach people to ignore it."""
    assert [error.message for error in validator.iter_errors(yaml.safe_load(config.read_text()))] == []


@pytest.mark.parametrize(
    "text",
    [
        "n: ${N:-2}",
        "n: 2",
        "{url: [tcp://:1, tcp://:2], tls: [cert.pem, key.pem]}",
        "{n: 1, memory: 2GB, daemon: {autoexit: task, cleanup: 15, walltime: 1.5}}",
        "{url: tcp://:0, launcher: {kind: remote_config, n: 2, command: sh, args: [-c, .]}}",
        "{extends: other, retry: 1}",
    ],
)
def test_what_can_be_read_is_valid(validator, text):
    """Every kind of value that a key takes."""
    assert validator.is_valid({"profiles": {"a": yaml.safe_load(text)}})


@pytest.mark.parametrize(
    "text",
    [
        "n: 0",
        "n: two",
        "retires: 2",
        "{n: 1, daemon: {cleanup: 16}}",
        "{n: 1, memory: lots}",
        "{n: 1, tls: [a, b, c]}",
        "{url: tcp://:0, launcher: {n: 2}}",
        "{url: tcp://:0, launcher: {kind: pigeon}}",
        "{url: tcp://:0, launcher: {kind: remote_config, comand: sh}}",
    ],
)
def test_what_cannot_be_read_is_not_valid(validator, text):
    """So that the error is seen while it is typed."""
    assert not validator.is_valid({"profiles": {"a": yaml.safe_load(text)}})


def test_keys_are_described(validator):
    """Editors show it beside the key."""
    keys = validator.schema["properties"]["profiles"]["additionalProperties"]["properties"]

    assert keys["retry"]["description"].startswith("how often a task")
