"""YAML text to nodes, and what can be wrong before anything is checked."""

from __future__ import annotations

import pytest

from mirai.config.document import read_document
from mirai.config.error import ConfigError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mirai.yaml"


def failure(file) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_document(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
    return caught.value


def test_nodes_know_their_place(file):
    """Every error points to one."""
    file.write_text("\n\nprofiles:\n  default: {n: 4}\n")

    (_, profiles) = read_document(file).value[0]

    assert (profiles.start_mark.line, profiles.start_mark.column) == (3, 2)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "\ufeff"])
def test_an_empty_file_has_no_nodes(file, text):
    """Whoever reads it decides what that means."""
    file.write_text(text, encoding="utf-8")

    assert read_document(file) is None


def test_a_byte_order_mark_is_no_matter(file):
    """Some editors write one."""
    file.write_text("profiles: {}", encoding="utf-8-sig")

    assert read_document(file) is not None


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3", (3, 2), "','"),
        ("a: 1\nb: c: d", (2, 5), "mapping values are not allowed"),
        ("a:\n\tb: 1", (2, 1), r"'\t'"),
        ("a: *nowhere", (1, 4), "undefined alias 'nowhere'"),
        ("a: 1\n---\nb: 2", (2, 1), "another document"),
        ("a: 1\nb: \x01", (2, None), "0x01"),
        ("[" * 5000, (None, None), "too deep"),
    ],
    ids=["list", "colon", "tab", "alias", "documents", "control", "deep"],
)
def test_broken_yaml_is_an_error_with_its_place(file, text, place, words):
    """A tab in place of spaces is not to be seen."""
    file.write_text(text)

    error = failure(file)

    assert (error.line, error.column) == place
    assert words in str(error)


def test_another_encoding_is_an_error_with_its_line(file):
    """An editor of another age: one umlaut in a comment will do."""
    file.write_bytes("profiles:\n# für alle\n".encode("latin-1"))

    error = failure(file)

    assert error.line == 2
    assert "0xfc is not UTF-8: save the file as UTF-8" in str(error)


def test_what_is_no_file_is_an_error(file):
    """One sentence, not a traceback."""
    assert "cannot be read (No such file or directory)" in str(failure(file))
    file.mkdir()
    assert "this is a directory" in str(failure(file))
