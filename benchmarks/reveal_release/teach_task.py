"""Teach the embedded model a task of reveal and release, and print the task's metrics before and after.

    python -m benchmarks.reveal_release.teach_task ner|toxicity|people [--data PATH] [--out DIR] [--epochs N]

`--data` is the task's file (ner: CoNLL columns, such as Wikigold). The taught model is cached, so the same call finds it again;
`--out` gets a copy of it, and the metrics as figures.json.
"""

import argparse
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.metrics.statistics import MetricValue
from expunge.models.loading import load
from expunge.pipeline.teach import Stage, teach
from expunge.tasks import Task, make_task

EPOCHS = {"ner": 3, "toxicity": 2, "people": 5}


def main() -> None:
    """Measure, teach, measure again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=EPOCHS)
    parser.add_argument("--data", help="the task's file, if it has one")
    parser.add_argument("--model", default="smollm2-135m", help="the model to teach")
    parser.add_argument("--epochs", type=float, help="epochs; default: " + str(EPOCHS))
    parser.add_argument("--out", type=Path, help="folder for the taught model and figures.json")
    given = parser.parse_args()
    if given.task == "ner" and not given.data:
        parser.error("ner: give the CoNLL file with --data")
    task = make_task({"name": given.task, **({"data": given.data} if given.data else {})})
    display = Display()
    figures = {"before": measured(task, given.model, display, "Measuring the model as it is")}
    started = time.monotonic()
    stage = Stage(given.task, task.taught_records(), given.epochs or EPOCHS[given.task])
    folder = teach(given.model, [stage], display)[given.task]
    print(f"Taught {len(stage.records)} records in {time.monotonic() - started:.0f} s")
    figures["after"] = measured(task, str(folder), display, "Measuring the taught model")
    if given.out:
        shutil.copytree(folder, given.out, dirs_exist_ok=True)
        plain = {when: {name: asdict(figure) for name, figure in of.items()} for when, of in figures.items()}
        (given.out / "figures.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    for name, metric in task.metrics.items():
        if name in figures["after"]:
            before, after = figures["before"][name], figures["after"][name]
            print(f"{metric.label:44} {before.value:8.3f} -> {after.value:8.3f}   n {after.n}")
    print(f"Model  {given.out or folder}")


def measured(task: Task, model: str, display: Display, title: str) -> dict[str, MetricValue]:
    """Return the task's metrics of a model."""
    loaded, tokenizer = load(model)
    with display.bar(title, task.measured_rows) as advance:
        return task.measure(loaded.eval(), PromptBuilder(tokenizer), advance)


if __name__ == "__main__":
    main()
