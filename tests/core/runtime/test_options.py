"""A daemon's options: checked where they are given."""

from __future__ import annotations

import pytest

from mirai.runtime.options import Options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("maxtasks", 0),
        ("maxtasks", "many"),
        ("idletime", -1),
        ("idletime", True),
        ("idletime", float("nan")),
        ("walltime", 0),
        ("timerstart", -1),
        ("autoexit", "never"),
        ("autoexit", 999),
        ("cleanup", 16),
        ("output", "loud"),
        ("asyncdial", 2),
        ("dispatcher", None),
        ("tlscert", 7),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(option, value):
    """By its name, with what may be."""
    with pytest.raises(ValueError, match=f"{option}=.*give"):
        Options(**{option: value})


def test_an_option_that_there_is_not_is_refused():
    """With those that there are."""
    with pytest.raises(TypeError, match="'colour'.*maxtasks"):
        Options(colour="red")


def test_a_certificate_may_be_a_path(tmp_path):
    """As wherever Python takes one; a daemon's command line is text."""
    assert Options(tlscert=tmp_path).tlscert == str(tmp_path)


def test_options_may_be_words():
    """As a command line has them."""
    options = Options(maxtasks="3", idletime="1.5", autoexit="False", cleanup="5", output="True", asyncdial="true")

    assert (options.maxtasks, options.idletime, options.autoexit, options.output, options.asyncdial) == (
        3,
        1.5,
        False,
        True,
        True,
    )
