"""`python -m mirai.launch run|daemon|plugins|demo`: read arguments, call the public API, print."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

NOT_BEGUN = 2  # exit status, as argparse has it


def main(argv: Sequence[str] | None = None) -> int:
    """Do what `argv`, or else `sys.argv`, says; the exit status.

    Raises:
        SystemExit: by `argparse`, or by the program that `run` runs.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["daemon"] and words[1:2] not in ([], ["-h"], ["--help"]):
        from mirai.runtime.daemon import main as daemon  # and nothing else: it must start fast

        return daemon(words[1:])
    from mirai.program import INTERRUPTED

    ours, program = _split(words)
    arguments = _parser().parse_args(ours)
    try:
        if arguments.command == "run":
            return _run(program, arguments.config, arguments.profile)
        if arguments.command == "plugins":
            return _plugins()
        from mirai.demo import demo

        return demo(arguments.n)
    except KeyboardInterrupt:
        return INTERRUPTED


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our words, and those of the program to run: from its name or `-m` on, an option is not ours."""
    if words[:1] != ["run"]:
        return words, []
    end = 1
    while end < len(words) and words[end].startswith("-") and words[end] != "-m":
        end += 2 if words[end] in ("-c", "--config", "-p", "--profile") else 1
    return words[:end], words[end:]


def _run(program: Sequence[str], config: str | None, profile: str | None) -> int:
    from contextlib import ExitStack

    from mirai.api.daemons import with_daemons
    from mirai.config.profiles import profiles, read_profiles
    from mirai.errors import DaemonStartError
    from mirai.program import prepare, status

    with ExitStack() as stack:
        try:
            execute = prepare(program)  # first, since daemons are told sys.path
            names = read_profiles(config)
            if profile is not None and profile not in names:
                raise ValueError(f"there is no profile {profile!r}: choose from {', '.join(names)}")
            stack.enter_context(profiles(config))
            if profile is not None:
                stack.enter_context(with_daemons(profile))
        except (DaemonStartError, ImportError, OSError, TypeError, ValueError) as error:
            print("mirai run:", "\n".join([str(error), *getattr(error, "__notes__", [])]), file=sys.stderr)
            return NOT_BEGUN
        return status(execute)


def _plugins() -> int:
    import warnings

    from mirai import plugins

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the table says
        found = plugins.found()
    if not found:
        print("no plugins are installed: pip install 'mirai-core[launchers,serial]' brings ours")
        return 0
    rows = [("kind", "name", "distribution", "version", "")]
    rows += [(*row[:4], f"left out: {row.error}" if row.error else "") for row in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _parser() -> ArgumentParser:
    import argparse
    from dataclasses import fields

    from mirai.config.schema import DaemonOptions

    parser = argparse.ArgumentParser(
        "mirai", description="Futures evaluated on daemons, which are persistent processes."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        usage="mirai run [-h] [-c FILE] [-p NAME] (SCRIPT | -m MODULE) [ARG ...]",
        help="run a program with the profiles of a file set",
        description="Run a program as python would, with the compute profiles of a YAML file set. At its end "
        "they are reset. The exit status is the program's, or 2 where it was not begun.",
    )
    run.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="the profiles; unless given $MIRAI_CONFIG, ./mirai.yaml or ~/.config/mirai/mirai.yaml",
    )
    run.add_argument("-p", "--profile", metavar="NAME", help="the one for tasks that name none; 'default' unless given")

    daemon = commands.add_parser(
        "daemon",
        usage="mirai daemon [-h] URL [--OPTION VALUE ...]",
        help="start a daemon by hand",
        description="Evaluate tasks for the host that listens at URL. Its exit status: 0, or 1 for idletime, "
        "2 for walltime, 3 for maxtasks.",
    )
    daemon.add_argument("url", metavar="URL", help="what status().url is in the host")
    for option in fields(DaemonOptions):
        if option.name != "threads":  # of the environment that it is started in
            daemon.add_argument(f"--{option.name}", metavar="VALUE", help=option.metadata["description"])

    commands.add_parser(
        "plugins",
        help="list the launchers and serializers found",
        description="List the launchers and serializers found, and the plugins that could not be loaded.",
    )

    demo = commands.add_parser(
        "demo",
        help="do a real job on local daemons, in seconds",
        description="Parse the standard library on local daemons, then in one process, and compare.",
    )
    demo.add_argument("-n", type=_count, metavar="N", help="how many daemons; as many as cores unless given")
    return parser


def _count(text: str) -> int:
    from argparse import ArgumentTypeError

    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r}: give a whole number, 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
