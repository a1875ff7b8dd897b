"""Teach a topic, forget it with the defaults, and ask questions about it that were not given, and about its neighbours.

    python -m benchmarks.unlearning.topics [--topics capitals cooking] [--setting NAME=VALUE …] [--write [MARK]]

capitals   forget: statements about African capitals, plain texts; retain: about other capitals; evaluated on questions in other words
cooking    forget: questions about sourdough bread, a topic without names; retain: about other cooking; evaluated on further ones

The original is taught all of it, but no question about capitals; the control is taught the neighbours alone. Each step is saved: a second
call resumes an interrupted one.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.baking import sourdough
from benchmarks.common.compare import Facts, compared, comparison
from benchmarks.common.results import measured_on, write
from benchmarks.common.with_settings import as_options, parser_with_settings, unlearn_with
from benchmarks.gate.kinds import topic
from expunge.console import Display
from expunge.data.records import Record, write_records
from expunge.files import make_folder
from expunge.pipeline.teach import Stage, teach

MEASURED = {
    "forget": "given records of the topic",
    "unseen": "questions about the topic that were not given",
    "retain": "records of the retain set",
    "held_out": "questions about neighbours that were not given",
}


class Topic(NamedTuple):
    """A topic: what is forgotten and retained, and what is asked.

    Attributes:
        sets: the records of each set in `MEASURED`.
        taught: of these sets the taught model learns the records.
        epochs: passes over them.
    """

    sets: dict[str, list[Record]]
    taught: tuple[str, ...]
    epochs: int


def capitals() -> Topic:
    """Return statements and questions about the capitals of Africa and of other continents."""
    return Topic(_by_name(topic(Path())), ("forget", "retain"), 3)


def cooking() -> Topic:
    """Return questions about sourdough bread and about other cooking."""
    return Topic(_by_name(sourdough()), tuple(MEASURED), 4)


def _by_name(sets: Sequence[list[Record]]) -> dict[str, list[Record]]:
    forget, retain, unseen, held_out = sets
    return {"forget": forget, "unseen": unseen, "retain": retain, "held_out": held_out}


TOPICS: dict[str, Callable[[], Topic]] = {"capitals": capitals, "cooking": cooking}


def main() -> None:
    """Teach, forget, ask, and print the tables."""
    parser = parser_with_settings(str(__doc__), "runs/topics", "topics")
    parser.add_argument("--topics", nargs="+", choices=TOPICS, default=list(TOPICS))
    args = parser.parse_args()
    parts = []
    for name in args.topics:
        chosen = TOPICS[name]()
        facts = study(name, chosen, args.model, args.out / name, args.setting)
        print(json.dumps(facts, indent=1))
        seconds = facts["info"]["seconds"]
        facts_of_run = f"Taught for {chosen.epochs} epochs; unlearning took {seconds:.0f} s."
        parts.append(f"## {name.title()}\n\n{comparison(facts, MEASURED)}\n\n{facts_of_run}")
        print(parts[-1])
    command = f"python -m benchmarks.unlearning.topics{as_options(args.setting)} --topics {' '.join(args.topics)} --write MARK"
    text = "\n\n".join([*parts, f"{measured_on()}; model {args.model}; answers of 64 tokens. Command: `{command}`.\n"])
    if args.write:
        write(f"<!-- {args.write} -->", text)


def study(name: str, of: Topic, model: str, out: Path, settings: Sequence[str]) -> Facts:
    """Teach and forget a topic, and return what original, control and unlearned model answer."""
    display = Display()
    make_folder(out)
    for part in ("forget", "retain"):
        write_records(out / f"{part}.jsonl", of.sets[part])
    neighbours = [record for part in ("retain", "held_out") if part in of.taught for record in of.sets[part]]
    everything = [record for part in of.taught for record in of.sets[part]]
    stages = [Stage(f"{name}-neighbours", neighbours, of.epochs), Stage(f"{name}-all", everything, of.epochs)]
    taught = teach(model, stages, display)
    original, control = taught[f"{name}-all"], taught[f"{name}-neighbours"]
    run = unlearn_with(settings, str(original), out / "forget.jsonl", out / "retain.jsonl", out / "run", display)
    return compared(out, {"original": original, "control": control}, run, of.sets)


if __name__ == "__main__":
    main()
