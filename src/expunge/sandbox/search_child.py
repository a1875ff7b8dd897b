"""Program of the process that searches for regular expressions (`expunge/sandbox/search.py`): it ends itself beyond its limits.

Each line of its input is a JSON request with `pattern`, `ignore_case`, `texts` and `seconds`, the limit for a text. Each line of its
output is the answer: `{"spans": [[start, end] or null, ...]}` or `{"error": "why the pattern cannot be used"}`.
"""

import json
import signal
import sys
from typing import Any


def main() -> None:
    """Answer requests until the input ends. The arguments are the folder of the library `regex` and bytes of memory."""
    sys.path.append(sys.argv[1])
    import regex

    _limit_memory(int(sys.argv[2]))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"spans": _spans(regex, request)}
        except (regex.error, RecursionError, MemoryError, OverflowError, ValueError) as error:
            answer = {"error": " ".join(str(error).split()) or "it needs too much memory"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(answer), flush=True)


def _spans(regex: Any, request: dict[str, Any]) -> list[tuple[int, int] | None]:
    # The library's own time limit is not checked everywhere. The default action of this signal ends the process in any case.
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    pattern = regex.compile(request["pattern"], regex.IGNORECASE if request["ignore_case"] else 0)
    spans = []
    for text in request["texts"]:
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        match = pattern.search(text)
        spans.append(match and match.span())
    return spans


def _limit_memory(memory: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    except (ImportError, ValueError, OSError):
        # Not every system has this limit. The time limit holds on all of them.
        return


if __name__ == "__main__":
    main()
