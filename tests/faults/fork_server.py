"""A process that has imported everything and forks a child for each command, so that a command starts in milliseconds; see `forks.py`.

It reads requests from standard input, one line of JSON each, and answers with one line each. It has one thread of its own, so that a
fork is safe.
"""

import ctypes
import gc
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

MODULES = (
    *("expunge.cli.main", "expunge.api", "expunge.attestation", "expunge.auditing.audit", "expunge.auditing.gate_eval"),
    *("expunge.gating.inspect", "expunge.pipeline.demo", "expunge.pipeline.export", "expunge.pipeline.release"),
    *("expunge.pipeline.unlearn", "expunge.reporting", "expunge.reporting.comparison", "pyarrow.parquet", "matplotlib.pyplot"),
    *("transformers.models.llama.modeling_llama", "transformers.trainer", "sklearn.linear_model", "peft", "datasets"),
)
MEMORY = 16 * 2**30
GOT_OUT = 70
"""Exit code of a child that ended with an exception."""


def main() -> None:
    """Import everything, then answer requests until standard input ends."""
    for module in MODULES:
        __import__(module)
    import torch

    torch.set_num_threads(1)
    threads = {Path(f"/proc/self/task/{number}/comm").read_text().strip() for number in os.listdir("/proc/self/task")}
    # A fork is safe if no other thread can hold a lock; jemalloc, the allocator of pyarrow, stops its own thread for a fork.
    assert len(threads - {"jemalloc_bg_thd"}) == 1, threads
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        answer = _start(request) if "words" in request else _wait(request["pid"], request["seconds"])
        print(json.dumps(answer), flush=True)


def _start(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _be_child(request)
    return pid


def _be_child(request: dict[str, Any]) -> None:
    code = GOT_OUT
    try:
        # Children of the child, such as the code sandbox, die with its group.
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # A damaged file that names huge sizes must not take the memory of the machine.
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for number, path in enumerate((os.devnull, request["out"], request["err"])):
            os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT, 0o600), number)
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        code = _run(request)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(request: dict[str, Any]) -> int:
    from expunge.cli.main import main as expunge

    if (fault := request["fault"]) is not None:
        log = os.open(fault["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if fault["log"] else -1
        ctypes.CDLL(None).fault_arm(os.fsencode(fault["below"]), *(ctypes.c_long(fault[n]) for n in ("what", "at", "value")), log)
    sys.argv = ["expunge", *request["words"]]
    try:
        expunge()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return GOT_OUT


def _wait(pid: int, seconds: float) -> dict[str, Any]:
    """Return how a child ended; end it, and its children, if it does not in time."""
    until, hung = time.monotonic() + seconds, False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return {"code": os.waitstatus_to_exitcode(status), "hung": hung}
        if time.monotonic() > until and not hung:
            hung = True
            os.killpg(pid, 9)
        time.sleep(0.003)


if __name__ == "__main__":
    main()
