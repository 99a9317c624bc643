"""The program behind the fake commands: a scheduler in one directory, that runs jobs as processes of this machine.

`python fakes.py KIND DIRECTORY COMMAND WORD…` is one run of one command. What it prints is what the real one
prints, as far as launchers read it. Nothing but the standard library, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Job = dict[str, Any]
    State = dict[str, Any]

WAITS, RUNS, HELD, OVER, ENDED, LOST = "waits", "runs", "held", "over", "ended", "lost"
PREFIX = {"slurm": "#SBATCH", "sge": "#$", "pbs": "#PBS", "torque": "#PBS", "lsf": "#BSUB"}


class Refused(Exception):
    """What a command says on stderr before it ends with a status of its own."""

    def __init__(self, said: str, status: int = 1) -> None:
        super().__init__(said)
        self.status = status


@contextlib.contextmanager
def state_of(directory: str) -> Iterator[State]:
    """What the scheduler knows, locked, and written when it is let go."""
    path = os.path.join(directory, "state.json")
    with open(os.path.join(directory, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state: State = {"next": 1, "jobs": [], "faults": {}, "commands": []}
        if os.path.exists(path):
            with open(path) as file:
                state = json.load(file)
        yield state
        with open(path + ".new", "w") as file:
            json.dump(state, file)
        os.replace(path + ".new", path)


def main(kind: str, directory: str, command: str, words: list[str]) -> int:
    if command == "run":
        run(directory, words[0])
        return 0
    if command == "begin":
        with state_of(directory) as state:
            begin(kind, directory, state)
        return 0
    try:
        with state_of(directory) as state:
            state["commands"].append([command, *words])
            fault = state["faults"].get("down")
            if fault:
                raise Refused(fault)
            print(COMMANDS[kind][command](kind, directory, state, words), end="")
    except Refused as error:
        print(error, file=sys.stderr)
        return error.status
    return 0


# Jobs


def submit(
    kind: str, directory: str, state: State, script: str, array: str, output: str | None, held: str | None = None
) -> int:
    """A job for each task, which begins unless it is `held`, or a fault says otherwise; its number."""
    faults = state["faults"]
    if "reject" in faults:
        raise Refused(faults["reject"])
    number = int(state["next"])
    state["next"] += 1
    with open(os.path.join(directory, f"script.{number}"), "w") as file:
        file.write(script)
    environment = dict(os.environ)
    if kind != "slurm":
        # A job's environment is not that of who submits it. What marks a test's processes is kept.
        environment = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR", "USER") if name in os.environ}
    held = faults.get("hold", held)
    for task in range(1, int(array.partition("-")[2]) + 1) if array else [0]:
        job = {
            "id": number,
            "task": task,
            "state": LOST if "lose" in faults else WAITS if held is None else HELD,
            "output": output,
            "environment": environment,
            "words": held or "",
        }
        state["jobs"].append(job)
    if "slow" not in faults:
        begin(kind, directory, state)
    return number


def begin(kind: str, directory: str, state: State) -> None:
    """Start all that waits."""
    for job in state["jobs"]:
        if job["state"] != WAITS:
            continue
        job["state"], job["words"] = RUNS, ""
        name = f"{job['id']}.{job['task']}"
        with open(os.path.join(directory, f"job.{name}"), "w") as file:
            json.dump([os.path.join(directory, f"script.{job['id']}"), variables(kind, job), log(kind, job)], file)
        runner = subprocess.Popen(
            [sys.executable, "-S", "-E", __file__, kind, directory, "run", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        job["runner"] = runner.pid


def variables(kind: str, job: Job) -> dict[str, str]:
    """The job's environment."""
    number, task = str(job["id"]), str(job["task"])
    ours = {
        "slurm": {
            "SLURM_JOB_ID": number,
            **({"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": task} if job["task"] else {}),
        },
        "sge": {"JOB_ID": number, "SGE_TASK_ID": task if job["task"] else "undefined"},
        "pbs": {"PBS_JOBID": pbs_id(job), **({"PBS_ARRAY_INDEX": task} if job["task"] else {})},
        "torque": {"PBS_JOBID": pbs_id(job), **({"PBS_ARRAYID": task} if job["task"] else {})},
        "lsf": {"LSB_JOBID": number, "LSB_JOBINDEX": task},
    }
    return {**job["environment"], **ours[kind]}


def log(kind: str, job: Job) -> str:
    """Where its output goes."""
    output = job["output"] or "/dev/null"
    pattern = {"slurm": "%a", "sge": "$TASK_ID", "lsf": "%I"}.get(kind)
    return str(output.replace(pattern, str(job["task"])) if pattern else output)


def run(directory: str, name: str) -> None:
    """Run one job to its end, and note its status."""
    with open(os.path.join(directory, f"job.{name}")) as file:
        script, environment, output = json.load(file)
    with open(script) as file:
        shell = shlex.split(file.readline()[2:]) or ["/bin/sh"]
    status, words = 1, ""
    try:
        with open(output, "ab") as stream:
            job = subprocess.Popen(
                [*shell, script], env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
        signal.signal(signal.SIGTERM, lambda *_: job.terminate())
        status = job.wait()
    except OSError as error:
        words = str(error)
    number, task = map(int, name.split("."))
    with state_of(directory) as state:
        for job_ in state["jobs"]:
            if (job_["id"], job_["task"]) == (number, task) and job_["state"] in (RUNS, ENDED):
                job_.update(state=ENDED if job_["state"] == ENDED else OVER, status=status)
                job_["words"] = job_["words"] or words


def end(state: State, job: Job, words: str = "") -> None:
    """End a job, whatever it is doing."""
    if job["state"] == RUNS:
        # Its whole session, since the runner's job may have started others.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job["runner"], signal.SIGTERM)
    if job["state"] in (RUNS, WAITS, HELD):
        job.update(state=ENDED, status=-signal.SIGTERM, words=words)


def find(state: State, number: int, task: int | None = None) -> list[Job]:
    jobs = [job for job in state["jobs"] if job["id"] == number and job["state"] != LOST]
    return jobs if task is None else [job for job in jobs if job["task"] == task]


def exit_status(job: Job) -> tuple[int, int]:
    """The status it ended with, and the signal."""
    status = job.get("status", 0)
    return (0, -status) if status < 0 else (status, 0)


def options(words: list[str], valued: str) -> tuple[dict[str, str], list[str]]:
    """A command's options and its other words; `valued` are the letters, or words, that a value follows."""
    found, rest = {}, []
    left = iter(words)
    for word in left:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            found[name] = value
        elif word.startswith("-") and len(word) > 1:
            found[word] = next(left) if word[1:] in valued.split() else ""
        else:
            rest.append(word)
    return found, rest


def directives(kind: str, script: str) -> list[str]:
    """The words of the directives, which end with the first command."""
    words = []
    for line in script.splitlines():
        if line.startswith(PREFIX[kind]):
            words += shlex.split(line[len(PREFIX[kind]) :], comments=False)
        elif line.strip() and not line.startswith("#"):
            break
    return words


def bounded(state: State, array: str, refusal: str) -> None:
    """Refuse an array that is too large."""
    if array and int(array.partition("-")[2]) > limit(state):
        raise Refused(refusal)


def limit(state: State) -> int:
    return int(state["faults"].get("limit", 1000))


# Slurm


def sbatch(kind: str, directory: str, state: State, words: list[str]) -> str:
    _, files = options(words, "")
    script = open(files[0]).read() if files else sys.stdin.read()  # noqa: SIM115
    given, _ = options(directives(kind, script), "o J t p a")
    array = given.get("--array", "")
    bounded(state, array, "sbatch: error: Batch job submission failed: Invalid job array specification")
    held = "JobHeldUser" if "--hold" in given else None
    number = submit(kind, directory, state, script, array, given.get("--output"), held)
    return f"{number}\n" if "--parsable" in words else f"Submitted batch job {number}\n"


def slurm_id(job: Job) -> str:
    return f"{job['id']}_{job['task']}" if job["task"] else str(job["id"])


def slurm_words(job: Job) -> tuple[str, str]:
    if job["state"] == OVER:
        return ("COMPLETED", "None") if job["status"] == 0 else ("FAILED", "NonZeroExitCode")
    if job["state"] == ENDED:
        return job["words"] or "CANCELLED", "None"
    return {WAITS: ("PENDING", "Resources"), HELD: ("PENDING", job["words"]), RUNS: ("RUNNING", "None")}[job["state"]]


def squeue(kind: str, directory: str, state: State, words: list[str]) -> str:
    given, _ = options(words, "j o")
    numbers = [int(word.partition("_")[0]) for word in (given.get("--jobs") or given["-j"]).split(",")]
    if len(numbers) == 1 and not find(state, numbers[0]):
        raise Refused("slurm_load_jobs error: Invalid job id specified")
    said = ""
    for job in [job for number in numbers for job in find(state, number) if job["state"] in (WAITS, HELD, RUNS)]:
        name, reason = slurm_words(job)
        line = (
            (given.get("--format") or given["-o"])
            .replace("%e", "N/A")
            .replace("%i", slurm_id(job))
            .replace("%T", name)
            .replace("%r", reason)
        )
        said += line + "\n"
    return said


def scontrol(kind: str, directory: str, state: State, words: list[str]) -> str:
    number, _, task = words[-1].partition("_")
    jobs = find(state, int(number), int(task) if task else None)
    if not jobs:
        raise Refused("slurm_load_jobs error: Invalid job id specified")
    said = ""
    for job in jobs:
        array = f"ArrayJobId={number} ArrayTaskId={job['task']} " if job["task"] else ""
        name, reason = slurm_words(job)
        status, signalled = exit_status(job)
        said += (
            f"JobId={job['id'] if not array else 1000 + job['task']} {array}JobName=mirai UserId=me(1000) "
            f"JobState={name} Reason={reason} Dependency=(null) Requeue=1 ExitCode={status}:{signalled} "
            f"RunTime=00:00:01 Command=(null) WorkDir=/home/me StdErr={log(kind, job)} StdIn=/dev/null "
            f"StdOut={log(kind, job)} Power= \n"
        )
    return said


def scancel(kind: str, directory: str, state: State, words: list[str]) -> str:
    for word in words:
        number, _, task = word.partition("_")
        for job in find(state, int(number), int(task) if task else None):
            end(state, job)
    return ""


# Grid Engine


def sge_qsub(kind: str, directory: str, state: State, words: list[str]) -> str:
    _, files = options(words, "N S j o t l q pe")
    script = open(files[0]).read() if files else sys.stdin.read()  # noqa: SIM115
    given, _ = options(directives(kind, script), "N S j o t l q pe hold_jid")
    array = given.get("-t", "")
    refusal = f"job rejected: you tried to submit a job with more than {limit(state)} tasks"
    bounded(state, array, f"Unable to run job: {refusal}\nExiting.")
    number = submit(kind, directory, state, script, array, given.get("-o"), "h" if "-h" in given else None)
    if "-terse" in words:
        return f"{number}.{array}:1\n" if array else f"{number}\n"
    return f'Your job {number} ("mirai") has been submitted\n'


def sge_qstat(kind: str, directory: str, state: State, words: list[str]) -> str:
    if "-j" in words:
        number = int(words[words.index("-j") + 1])
        if not find(state, number):
            raise Refused(f"Following jobs do not exist: \n{number}")
        errors = [
            f"error reason {job['task'] or 1:10d}:      11/25/2026 22:24:33 [0:1]: {job['words']}\n"
            for job in find(state, number)
        ]
        return "=" * 62 + f"\njob_number:                 {number}\n" + "".join(errors)
    rows = ""
    for job in state["jobs"]:
        if job["state"] not in (WAITS, HELD, RUNS):
            continue
        name = {WAITS: "qw", RUNS: "r", HELD: "hqw" if job["words"] == "h" else "Eqw"}[job["state"]]
        tasks = f"\n      <tasks>{job['task']}</tasks>" if job["task"] else ""
        rows += (
            f'    <job_list state="{"running" if name == "r" else "pending"}">\n'
            f"      <JB_job_number>{job['id']}</JB_job_number>\n      <JB_name>mirai</JB_name>\n"
            f"      <JB_owner>me</JB_owner>\n      <state>{name}</state>\n"
            f"      <slots>1</slots>{tasks}\n    </job_list>\n"
        )
    empty = "  <queue_info>\n  </queue_info>\n"
    return f"<?xml version='1.0'?>\n<job_info>\n{empty}  <job_info>\n{rows}  </job_info>\n</job_info>\n"


def qacct(kind: str, directory: str, state: State, words: list[str]) -> str:
    number = int(words[words.index("-j") + 1])
    # A job that was deleted from the queue leaves no record.
    jobs = [job for job in find(state, number) if job["state"] in (OVER, ENDED) and "runner" in job]
    if not jobs:
        raise Refused(f"error: job id {number} not found")
    said = ""
    for job in jobs:
        status, signalled = exit_status(job)
        failed = "100 : assumedly after job" if signalled else "0    "
        said += (
            "=" * 62 + f"\nqname        all.q               \njobnumber    {number}                   \n"
            f"taskid       {job['task'] or 'undefined'}                   \nfailed       {failed}\n"
            f"exit_status  {status or (128 + signalled if signalled else 0)}                   \nru_wallclock 0s\n"
        )
    return said


def sge_qdel(kind: str, directory: str, state: State, words: list[str]) -> str:
    said, missing = "", []
    for word in words[0].split(","):
        number, _, task = word.partition(".")
        jobs = [j for j in find(state, int(number), int(task) if task else None) if j["state"] in (WAITS, HELD, RUNS)]
        for job in jobs:
            end(state, job)
            said += f"me has deleted job {word}\n"
        if not jobs:
            missing.append(f'denied: job "{number}" does not exist')
    if missing:
        raise Refused("\n".join(missing))
    return said


# PBS and Torque


def pbs_id(job: Job) -> str:
    return f"{job['id']}[{job['task']}].server" if job["task"] else f"{job['id']}.server"


def pbs_qsub(kind: str, directory: str, state: State, words: list[str]) -> str:
    if "--version" in words:
        if kind == "pbs":
            return "pbs_version = 22.05.11\n"
        raise Refused("Version: 6.1.3\nCommit: 8b6a", 0)  # on stderr
    given, files = options(words, "N S j o J t l q W")
    if not files:
        raise Refused("qsub: standard input is not what these tests submit")
    with open(files[0]) as file:
        script = file.read()
    written, _ = options(directives(kind, script), "N S j o J t l q W")
    letter, other = ("-J", "-t") if kind == "pbs" else ("-t", "-J")
    if other in given:
        raise Refused(f"qsub: invalid option -- '{other[1]}'\nusage: qsub …", 2)
    array = given.get(letter, "")
    if kind == "pbs" and array == "1-1":
        raise Refused("qsub: illegal -J value", 2)
    refusal = "Array job exceeds server or queue size limit"
    if kind == "torque":
        refusal = f"submit error (Bad Job Array Request MSG=Requested array size too large, limit is {limit(state)})"
    bounded(state, array, f"qsub: {refusal}")
    number = submit(kind, directory, state, script, array, given.get("-o"), "" if "-h" in written else None)
    return f"{number}{'[]' if array else ''}.server\n"


def pbs_qstat(kind: str, directory: str, state: State, words: list[str]) -> str:
    given, jobs = options(words, "")
    said, missing = "", []
    for word in jobs:
        found = re.fullmatch(r"(\d+)(?:\[(\d*)\])?\.server", word)
        known = find(state, int(found[1])) if found else []
        history = ("-x" in given and kind == "pbs") or kind == "torque"
        if not known:
            missing.append(f"qstat: Unknown Job Id {word}")
        elif not history and all(job["state"] in (OVER, ENDED) for job in known):
            missing.append(f"qstat: {word} Job has finished, use -x or -H to obtain historical job information")
        else:
            if found and found[2] == "" and kind == "pbs":
                said += f"Job Id: {word}\n    Job_Name = mirai\n    job_state = B\n    array = True\n\n"
            said += "".join(map(pbs_record if kind == "pbs" else torque_record, known))
    if missing:
        print(said, end="")
        raise Refused("\n".join(missing), 153 if "Unknown" in missing[0] else 35)
    return said


def pbs_record(job: Job) -> str:
    name = {WAITS: "Q", HELD: "H", RUNS: "R", OVER: "X" if job["task"] else "F", ENDED: "F"}[job["state"]]
    status, signalled = exit_status(job)
    comments = {
        "Q": "Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T: 4)",
        "R": "Job run at Wed Nov 25 at 22:24 on (node1:ncpus=1)",
        "H": job["words"] or "Job held by me on Wed Nov 25 22:24:33 2026",
    }
    comment = job["words"] or comments.get(name, "Job run at Wed Nov 25 at 22:24 on (node1:ncpus=1) and finished")
    over = f"    Exit_status = {status or 256 + signalled if signalled else status}\n" if name in "FX" else ""
    long = "    Submit_arguments = -J 1-4 -j oe -o /dev/null /home/me/.mirai/jobs/20261125-222\n\t928-jwrv4s21/script\n"
    return (
        f"Job Id: {pbs_id(job)}\n    Job_Name = mirai\n    Job_Owner = me@login1\n    job_state = {name}\n"
        f"    queue = workq\n    Hold_Types = {'u' if name == 'H' else 'n'}\n    comment = {comment}\n{over}{long}\n"
    )


def torque_record(job: Job) -> str:
    name = {WAITS: "Q", HELD: "H", RUNS: "R", OVER: "C", ENDED: "C"}[job["state"]]
    status, signalled = exit_status(job)
    over = f"    exit_status = {256 + signalled if signalled else status}\n" if name == "C" else ""
    return f"Job Id: {pbs_id(job)}\n    Job_Name = mirai\n    job_state = {name}\n    queue = batch\n{over}\n"


def pbs_qdel(kind: str, directory: str, state: State, words: list[str]) -> str:
    missing = []
    for word in words:
        found = re.fullmatch(r"(\d+)(?:\[(\d*)\])?\.server", word)
        jobs = find(state, int(found[1]), int(found[2]) if found[2] else None) if found else []
        live = [job for job in jobs if job["state"] in (WAITS, HELD, RUNS)]
        for job in live:
            end(state, job)
        if not live:
            missing.append(f"qdel: {'Job has finished' if jobs else 'Unknown Job Id'} {word}")
    if missing:
        raise Refused("\n".join(missing), 153)
    return ""


# LSF


def bsub(kind: str, directory: str, state: State, words: list[str]) -> str:
    given, rest = options(words, "J o q n W")
    if rest:
        raise Refused("a command is not what these tests submit", 255)
    script = sys.stdin.read()
    written, _ = options(directives(kind, script), "J o q n W")
    found = re.fullmatch(r"[\w.-]+\[(1-\d+)\]", given.get("-J", ""))
    array = found[1] if found else ""
    bounded(state, array, "Job array index too large. Job not submitted.")
    held = "The job was suspended by the user while pending" if "-H" in written else None
    number = submit(kind, directory, state, script, array, written.get("-o"), held)
    return f"Job <{number}> is submitted to default queue <normal>.\n"


def bjobs(kind: str, directory: str, state: State, words: list[str]) -> str:
    given, jobs = options(words, "o")
    if not given["-o"].endswith("delimiter='|'") or "-noheader" not in given:
        raise Refused("bjobs: this fake knows one format only", 255)
    said, missing = "", []
    for word in jobs:
        known = find(state, int(word))
        if not known:
            missing.append(f"Job <{word}> is not found")
        for job in known:
            names = {WAITS: "PEND", HELD: "PSUSP", RUNS: "RUN", OVER: "EXIT" if job.get("status") else "DONE"}
            name = names.get(job["state"], "EXIT")
            status, signalled = exit_status(job)
            reasons = {WAITS: "Job slot limit reached: 4 hosts;", HELD: job["words"]}
            fields = {
                "jobid": job["id"],
                "jobindex": job["task"],
                "stat": name,
                "exit_code": (status or 128 + signalled) if name == "EXIT" else "-",
                "pend_reason": reasons.get(job["state"], "-"),
            }
            said += "|".join(str(fields[field]) for field in given["-o"].split()[:-1]) + "\n"
    if missing:
        print(said, end="")
        raise Refused("\n".join(missing), 255)
    return said


def bkill(kind: str, directory: str, state: State, words: list[str]) -> str:
    said, missing = "", []
    for word in words:
        number, _, task = word.rstrip("]").partition("[")
        jobs = find(state, int(number), int(task) if task else None)
        live = [job for job in jobs if job["state"] in (WAITS, HELD, RUNS)]
        for job in live:
            end(state, job)
            said += f"Job <{word}> is being terminated\n"
        if not live:
            missing.append(f"Job <{word}>: {'Job has already finished' if jobs else 'No matching job found'}")
    if missing:
        print(said, end="")
        raise Refused("\n".join(missing), 255)
    return said


COMMANDS: dict[str, dict[str, Callable[[str, str, State, list[str]], str]]] = {
    "slurm": {"sbatch": sbatch, "squeue": squeue, "scontrol": scontrol, "scancel": scancel},
    "sge": {"qsub": sge_qsub, "qstat": sge_qstat, "qacct": qacct, "qdel": sge_qdel},
    "pbs": {"qsub": pbs_qsub, "qstat": pbs_qstat, "qdel": pbs_qdel},
    "torque": {"qsub": pbs_qsub, "qstat": pbs_qstat, "qdel": pbs_qdel},
    "lsf": {"bsub": bsub, "bjobs": bjobs, "bkill": bkill},
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
