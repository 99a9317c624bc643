"""`python -m mirai.launch run|check|show|daemons|…`: read arguments, call the public API, print."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from mirai.config.profiles import Read

NOT_BEGUN = 2  # exit status, as argparse has it
UNREAD = 141  # exit status of what SIGPIPE ends, as a shell has it


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
    if arguments.command == "run":
        try:
            return _run(program, arguments.config, arguments.profile)
        except KeyboardInterrupt:
            return INTERRUPTED
    try:
        status = _do(arguments)
        print(end="", flush=True)
        return status
    except BrokenPipeError:  # as by `| head`
        # What is still to be written goes nowhere, without an error at the end of the interpreter.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except KeyboardInterrupt:
        return INTERRUPTED


def _do(arguments: Namespace) -> int:
    if arguments.command == "show":
        return _show(arguments)
    if arguments.command == "check":
        return _check(arguments)
    if arguments.command == "daemons":
        return _daemons(arguments)
    if arguments.command == "top":
        from mirai.top import top

        return top(arguments.profile, interval=arguments.interval, once=arguments.once)
    if arguments.command == "plugins":
        return _plugins()
    from mirai.demo import demo

    return demo(arguments.n)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our words, and those of the program to run: from its name or `-m` on, an option is not ours."""
    if words[:1] != ["run"]:
        return words, []
    end = 1
    while end < len(words) and words[end].startswith("-") and words[end] != "-m":
        end += 2 if words[end] in ("-c", "--config", "-p", "--profile") else 1
    return words[:end], words[end:]


def _run(program: Sequence[str], config: list[str] | None, profile: str | None) -> int:
    from contextlib import ExitStack

    from mirai.api.daemons import with_daemons
    from mirai.config.profiles import profiles
    from mirai.errors import DaemonStartError
    from mirai.program import prepare, status

    with ExitStack() as stack:
        try:
            execute = prepare(program)  # first, since daemons are told sys.path
            _read(config, profile)
            stack.enter_context(profiles(config))
            if profile is not None:
                stack.enter_context(with_daemons(profile))
        except (DaemonStartError, ImportError, OSError, TypeError, ValueError) as error:
            print("mirai run:", "\n".join([str(error), *getattr(error, "__notes__", [])]), file=sys.stderr)
            return NOT_BEGUN
        return status(execute)


def _read(config: list[str] | None, profile: str | None) -> Read:
    """What the files say; a profile that is asked for must be there.

    Raises:
        ValueError: it is not, or a file is wrong.
    """
    from mirai.config.profiles import read

    found = read(config)
    if profile is not None and profile not in found.profiles:
        raise ValueError(f"there is no profile {profile!r}: choose from {', '.join(found.profiles)}")
    return found


def _show(arguments: Namespace) -> int:
    import json

    from mirai.config.json_schema import json_schema
    from mirai.show import show

    if arguments.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    try:
        found = _read(arguments.config, arguments.profile)
        names = [arguments.profile] if arguments.profile else list(found.profiles)
        text = "\n\n".join(show(found, name, origins=arguments.explain) for name in names)
    except (OSError, ValueError) as error:
        print("mirai show:", error, file=sys.stderr)
        return NOT_BEGUN
    print(text)
    return 0


def _check(arguments: Namespace) -> int:
    import json

    from mirai.check import check

    try:
        found = _read(arguments.config, arguments.profile)
    except (OSError, ValueError) as error:
        print("mirai check:", error, file=sys.stderr)
        return NOT_BEGUN
    steps = []
    for name in [arguments.profile] if arguments.profile else found.profiles:
        if not arguments.json:
            print(f"profile {name!r}")
        for step in check(name, found.profiles[name], arguments.timeout):
            steps.append(step)
            if not arguments.json:
                mark = "ok" if step.ok else "FAILED"
                print(f"  {mark:6}  {step.step:15} {step.seconds:7.2f} s  {step.detail}", flush=True)
    if arguments.json:
        print(json.dumps([step._asdict() for step in steps], indent=2))
    return 0 if all(step.ok for step in steps) else 1


def _daemons(arguments: Namespace) -> int:
    from mirai.more_daemons import launch_more

    try:
        found = _read(arguments.config, arguments.profile)
        names = [arguments.profile] if arguments.profile else list(found.profiles)
        if len(names) > 1:
            raise ValueError(f"which profile? choose one with -p from {', '.join(names)}")
        text = launch_more(names[0], found.profiles[names[0]], arguments.n)
    except (LookupError, OSError, RuntimeError, ValueError) as error:
        print("mirai daemons:", error.args[0] if isinstance(error, LookupError) else error, file=sys.stderr)
        return NOT_BEGUN
    print(text)
    return 0


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
    _add_files(run)
    run.add_argument("-p", "--profile", metavar="NAME", help="the one for tasks that name none; 'default' unless given")

    check = commands.add_parser(
        "check",
        help="try each profile with one daemon, step by step",
        description="For each profile start one daemon for real, have it run a task, and let it go. Says how long each "
        "step took, or what is wrong and what to do. The exit status is 1 where one failed.",
    )
    _add_files(check)
    check.add_argument("-p", "--profile", metavar="NAME", help="this one only")
    check.add_argument("--timeout", type=float, default=60.0, metavar="S", help="for it to connect; 60 s unless given")
    check.add_argument("--json", action="store_true", help="print one JSON document instead")

    show = commands.add_parser(
        "show",
        help="print the profiles in force, and what would be submitted",
        description="Print each profile as it is in force, and the commands or the job script that would start its "
        "daemons. Nothing is run.",
    )
    _add_files(show)
    show.add_argument("-p", "--profile", metavar="NAME", help="this one only")
    show.add_argument("--explain", action="store_true", help="say where each value came from")
    show.add_argument("--schema", action="store_true", help="print the JSON Schema of such files, for editors, instead")

    more = commands.add_parser(
        "daemons",
        help="launch daemons for a program that runs",
        description="Have a program of yours that runs on this machine, and has set the profile, launch more daemons, "
        "as the profile says. The program watches them, and lets them go at its end.",
    )
    _add_files(more)
    more.add_argument("-p", "--profile", metavar="NAME", help="the profile; needed where the file has several")
    more.add_argument("-n", type=_count, metavar="N", help="how many; as many as the profile says unless given")

    top = commands.add_parser(
        "top",
        help="watch the programs that run on this machine",
        description="Show what goes on in each profile of each of your programs on this machine, until Ctrl-C.",
    )
    top.add_argument("-p", "--profile", metavar="NAME", help="this one only")
    top.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="seconds between two looks; 1 unless given"
    )
    top.add_argument("--once", action="store_true", help="look once")

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


def _add_files(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        metavar="FILE",
        help="the profiles; of several files the later win. Unless given those of $MIRAI_CONFIG, or ./mirai.yaml, or "
        "~/.config/mirai/mirai.yaml",
    )


def _count(text: str) -> int:
    from argparse import ArgumentTypeError

    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r}: give a whole number, 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
