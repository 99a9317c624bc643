"""Where each value of a profile came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mirai import plugins
from mirai.config.explain import Value, explain
from mirai.config.profiles import read


@dataclass(frozen=True)
class Queue:
    """A launcher with a secret."""

    name: ClassVar[str] = "queue"

    options: str = ""
    token: str | None = field(default=None, repr=False)


def test_each_value_says_where_it_came_from(tmp_path, monkeypatch):
    """Of several files and the environment, the one that counts; and no secret is told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "launchers", lambda: {"queue": Queue})
    monkeypatch.setenv("MIRAI__PROFILES__HPC__RETRY", "3")
    monkeypatch.setenv("PORT", "5555")
    (tmp_path / "site.yaml").write_text(
        "profiles:\n  base:\n    memory: 1GB\n    url: tcp://:${PORT}\n    launcher: {kind: queue, token: geheim}\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "extends: site.yaml\nprofiles:\n  hpc:\n    extends: base\n    retry: 1\n    serial: [arrow, torch]\n"
        '    launcher: {n: 2, options: "#Q -x\\nmodule load"}\n    password: geheim\n'
    )

    assert explain(read("mine.yaml"), "hpc") == [
        Value("memory", "1GB", "site.yaml:3"),
        Value("url", "tcp://:5555", "site.yaml:4 $PORT"),
        Value("launcher.kind", "queue", "site.yaml:5"),
        Value("launcher.token", "(hidden)", "site.yaml:5"),
        Value("launcher.n", "2", "mine.yaml:7"),
        Value("launcher.options", r'"#Q -x\nmodule load"', "mine.yaml:7"),
        Value("retry", "3", "$MIRAI__PROFILES__HPC__RETRY"),
        Value("serial", "[arrow, torch]", "mine.yaml:6"),
        Value("password", "(hidden)", "mine.yaml:8"),
    ]
