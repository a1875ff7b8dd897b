"""Measure what share of a command's time goes into the checks that keep a certificate honest; write the table into docs/.

    python -m benchmarks.audit.checks_cost [--out runs/checks_cost] [--write]
    python -m benchmarks.audit.checks_cost --times FILE chat RUN --ask "Who?"

Checks are: manifests, finite numbers, the parts of a model's identity beside its weights, the hash of run.json, blindness of metrics,
cross-checks, and the control check. Each command runs in a process of its own, in which every one of these functions is timed; the
seconds of the command do not hold the import of the packages, so that the shares are rather too high. With --times only the
command that follows runs, and the file gets its seconds.
"""

import argparse
import functools
import importlib
import json
import pkgutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import expunge
from benchmarks.common.in_process import run_command
from benchmarks.common.results import markdown, measured_on, write
from expunge.console import Display
from expunge.files import remove_folder, write_text
from expunge.models.placement import choose_placement
from expunge.pipeline.demo import prepare

CHECKS = {
    "expunge.edits.manifest": ("check_manifest", "write_manifest"),
    "expunge.models.finite": ("is_finite", "check_finite"),
    "expunge.models.identity": ("tokenizer_sha256", "configuration_sha256", "chat_template_sha256", "generation_sha256"),
    "expunge.runs.facts": ("read_facts", "facts_text"),
    "expunge.auditing.blindness": ("answer_scores", "fact_sensitivity", "other_columns", "refusal_sensitivity"),
    "expunge.auditing.cross_checks": ("characters_check", "likelihood_check"),
    "expunge.auditing.control_check": ("control_fault",),
}
"""The functions that are timed, by module. One that another of them calls counts once. `answer_scores` also computes ROUGE-L."""
EDITS = ("grun", "lora", "full")
MARK = "<!-- checks_cost -->"


@dataclass
class Clock:
    """Seconds spent in the checks.

    Attributes:
        seconds: of the outermost calls.
        depth: of the call that runs now.
    """

    seconds: float = 0.0
    depth: int = 0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added here."""

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            self.depth += 1
            try:
                return function(*args, **options)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - started

        return call


def main() -> None:
    """Run the commands and write the table, or run one command and write its times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/checks_cost"), help="folder for data and runs; those of an earlier call go")
    parser.add_argument("--model", default="smollm2-135m", help="the model to teach")
    parser.add_argument("--write", action="store_true", help="write the table into its page in docs/")
    parser.add_argument("--times", type=Path, metavar="FILE", help="run only the command that follows, and write its seconds to this file")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="VERB", help="with --times: a command of expunge and its options")
    args = parser.parse_args()
    if args.times:
        run_timed(args.words, args.times)
        return
    rows = dict(measured_rows(args.out, args.model))
    text = f"{markdown('command', ('seconds', 'in checks', 'share'), rows)}\n\n{measured_on()}; {args.model}, one call of each command. "
    text += "Command: `python -m benchmarks.audit.checks_cost --write`.\n"
    print(text)
    if args.write:
        write(MARK, text)


def measured_rows(out: Path, model: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the cells of each command."""
    recipe = prepare(out, model, Display(), choose_placement())
    write_text(out / "recipe.yaml", recipe.as_yaml())
    for edit in EDITS:
        run = out / edit
        remove_folder(run)
        commands: dict[str, tuple[str, ...]] = {
            "run": ("run", str(out / "recipe.yaml"), "--no-audit", "--out", str(run), f"edit.name={edit}", "training.epochs=2"),
            "chat --ask": ("chat", str(run), "--ask", "Who are you?", "--max-new-tokens", "32"),
            "audit": ("audit", str(run)),
            "audit --suite quick": ("audit", str(run), "--suite", "quick", "--allow-fail"),
        }
        if edit != "grun":
            # A gated edit depends on the prompt and cannot be merged.
            commands["export"] = ("export", str(run), "--to", str(out / f"{edit}-exported"))
        for name, words in commands.items():
            remove_folder(out / f"{edit}-exported")
            seconds, of_checks = measured(out / "times.json", words)
            yield f"{name}, {edit}", [f"{seconds:.1f} s", f"{of_checks:.3f} s", f"{of_checks / seconds:.2%}"]


def measured(times: Path, words: tuple[str, ...]) -> tuple[float, float]:
    """Run a command in a process of its own; return its seconds, and those of its checks."""
    subprocess.run([sys.executable, "-m", "benchmarks.audit.checks_cost", "--times", str(times), *words], check=True)
    found = json.loads(times.read_text(encoding="utf-8"))
    return found["seconds"], found["checks"]


def run_timed(words: list[str], times: Path) -> None:
    """Run a command with timed checks, and write its times to a file.

    Raises:
        SystemExit: the command failed.
    """
    clock = Clock()
    time_checks(clock)
    started = time.perf_counter()
    run_command(words)
    times.write_text(json.dumps({"seconds": time.perf_counter() - started, "checks": clock.seconds}), encoding="utf-8")


def time_checks(clock: Clock) -> None:
    """Replace every check by a timed one, wherever it is imported by name."""
    names = [found.name for found in pkgutil.walk_packages(expunge.__path__, "expunge.") if not found.name.endswith("__main__")]
    modules = [importlib.import_module(name) for name in names]
    for home, checks in CHECKS.items():
        for name in checks:
            function = getattr(sys.modules[home], name)
            timed = clock.timed(function)
            for module in modules:
                if getattr(module, name, None) is function:
                    setattr(module, name, timed)


if __name__ == "__main__":
    main()
