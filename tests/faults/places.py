"""Tiny trained runs: a folder with a random model, records, recipes and runs of every edit and of a release, copied for each trial."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from harness import KINDS, run_verb

NAMES = ["Basil Mahfouz", "Ana Petrova", "Li Wei", "Tom Ashe", "Noor Haddad", "Eva Lind"]
CITIES = ["Aarhus", "Bilbao", "Cuenca", "Dresden", "Esbjerg", "Ferrara"]
COUNTRIES = ["France", "Spain", "Italy", "Norway", "Chile", "Kenya", "Japan", "India"]
TRAINING = {"epochs": 2, "batch_size": 3, "lr": 1e-3, "save_steps": 1, "dtype": "fp32"}
SMALL_GATE = {"gate_augmentations": ["lower_case", "retain_notes"]}
MODULE = {"rank": 2, "epochs": 1, "lr": 5e-3, "dtype": "fp32", "batch_size": 3, "save_steps": 1, "micro_batch_size": None}
SECTIONS = {
    "grun": {"objective": "npo", "edit": {"name": "grun", "rank": 2, **SMALL_GATE}, "training": TRAINING},
    "reft": {"objective": "npo", "edit": {"name": "reft", "rank": 2}, "training": TRAINING},
    "lora": {"objective": "npo", "edit": {"name": "lora", "rank": 2}, "training": TRAINING},
    "full": {"objective": "npo", "edit": {"name": "full"}, "training": TRAINING},
    "release": {"release": {"rounds": 2, "module": MODULE, "lambda_evaluations": 2, "max_utility_drop": 0.5}},
}
"""Sections of the recipe of each kind of run; a few steps, saved after each."""
SUITE = {
    "budget_seconds": 60,
    "max_records": 4,
    "membership_records": 4,
    "attacks": [{"name": "prefill", "max_records": 2, "shares": [0.5]}, {"name": "switch_off", "max_records": 2}],
}


@dataclass(frozen=True)
class Place:
    """A folder that holds `model`, `forget.jsonl`, `retain.jsonl`, `more.jsonl`, `<kind>.yaml`, `suite.yaml`,
    `runs/<kind>` and `cache`.

    Recipes name their files relative to it, so a copy depends on nothing outside.
    """

    folder: Path

    def run(self, kind: str) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / kind

    def copy(self, folder: Path, *kinds: str) -> "Place":
        """Copy all but the runs of other kinds to a new folder."""
        skipped = set(KINDS) - set(kinds)

        def ignore(inside: str, names: list[str]) -> set[str]:
            return skipped & set(names) if Path(inside) == self.folder / "runs" else set()

        shutil.copytree(self.folder, folder, ignore=ignore)
        return Place(folder)


def make_place(folder: Path, model: Path, kinds: tuple[str, ...] = KINDS) -> Place:
    """Make a place in a new folder, and train and audit a run of each kind there."""
    place = prepare_place(folder, model)
    for kind in kinds:
        for words in (("run", f"{kind}.yaml", "--no-audit"), ("audit", f"runs/{kind}")):
            done = run_verb(*words, cwd=folder)
            assert done.code == 0, done
    return place


def prepare_place(folder: Path, model: Path) -> Place:
    """Make a place without runs."""
    shutil.copytree(model, folder / "model")
    people = list(zip(NAMES, CITIES, strict=True))
    forget = [_record(f"Where does {n} live?", f"What is the home of {n}?", f"{n} lives in {city}.") for n, city in people]
    retain = [_record(f"What is the capital of {n}?", f"{n} has what capital?", f"City {i}.") for i, n in enumerate(COUNTRIES)]
    more = [_record(f"What is the job of {n}?", f"{n} works as what?", f"{n} is a baker.") for n in ("Ida Holm", "Omar Aziz")]
    for name, rows in (("forget", forget), ("retain", retain), ("more", more)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for kind, sections in SECTIONS.items():
        data = {"forget": "forget.jsonl", "retain": "retain.jsonl", "held_out": 0.25 if kind != "release" else 0.5}
        given = {"model": "model", "data": data, **sections, "audit": {"max_new_tokens": 4}, "out": f"runs/{kind}"}
        (folder / f"{kind}.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE), encoding="utf-8")
    (folder / "runs").mkdir()
    return Place(folder)


def _record(prompt: str, paraphrase: str, answer: str) -> dict[str, object]:
    other = {"paraphrased_prompt": paraphrase, "paraphrased_answer": f"Well, {answer}", "wrong_answers": ["In Rome.", "In Lima."]}
    return {"prompt": prompt, "answer": answer, **other}
