"""Links, devices and files of the user in a run's places: every verb refuses with one sentence, and nothing outside the run changes."""

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Outcome, run_verb, tree
from places import Place
from trials import Trials, refusal

Put = Callable[[Path, Path], None]


def link_to_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "notes.txt")


def link_to_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "folder")


def dangling_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "new")


def hard_link(path: Path, outside: Path) -> None:
    os.link(outside / "notes.txt", path)


def pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path, outside: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(before)


def device(path: Path, outside: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make a device")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


UNLEARN = ("run", "lora.yaml", "--no-audit")
AUDIT, GATE = ("audit", "runs/lora"), ("audit", "runs/grun", "--gate")
UNDO, PURGE, RELEASE = ("undo", "runs/release", "1"), ("purge", "runs/release", "--yes"), ("release", "release.yaml")
REVEAL = ("reveal", "reveal.yaml")
EXPORT, COMPARE, VERIFY = ("export", "runs/lora"), ("compare", "runs/lora"), ("verify", "runs/lora")
CHAT = ("chat", "runs/lora", "--ask", "Who?")
REVEALED = "{reveal: {oracle: {name: regex, pattern: e}, topics: [people]}}"

IN_A_RUN: list[tuple[tuple[str, ...], str, Put]] = [
    (UNLEARN, "runs/lora/metrics.jsonl", link_to_file),
    (UNLEARN, "runs/lora/recipe.yaml", link_to_file),
    (UNLEARN, "runs/lora/run.json", dangling_link),
    (UNLEARN, "runs/lora/checkpoints", link_to_folder),
    (UNLEARN, "runs/lora/edit", link_to_folder),
    (UNLEARN, "runs/lora/edit.part", link_to_folder),
    (UNLEARN, "runs/lora/alternatives.jsonl", dangling_link),
    (UNLEARN, "runs/lora/.lock", link_to_file),
    (UNLEARN, "runs/lora/.lock", pipe),
    (UNLEARN, "runs/lora/metrics.jsonl", device),
    (AUDIT, "runs/lora/audit.json", link_to_file),
    (AUDIT, "runs/lora/audit.parquet", dangling_link),
    (AUDIT, "runs/lora/report.html", link_to_file),
    (AUDIT, "runs/lora/attestation.json", link_to_file),
    (AUDIT, "runs/lora/attestations", link_to_folder),
    (AUDIT, "runs/lora/key", link_to_file),
    (AUDIT, "runs/lora/verdict.json", pipe),
    (AUDIT, "runs/lora/report.html", listening_socket),
    (AUDIT, "runs/lora/.lock", link_to_file),
    (GATE, "runs/grun/gate.json", link_to_file),
    (GATE, "runs/grun/gate.parquet", dangling_link),
    (EXPORT, "runs/lora/model", link_to_folder),
    (EXPORT, "runs/lora/model", dangling_link),
    (EXPORT, "runs/lora/edit/adapter_model.safetensors", link_to_file),
    (COMPARE, "runs/lora/audit.json", pipe),
    (VERIFY, "runs/lora/audit.json", pipe),
    (VERIFY, "runs/lora/edit/extra.safetensors", link_to_file),
    (VERIFY, "runs/lora/attestation.json", device),
    (CHAT, "runs/lora/run.json", link_to_file),
    (UNDO, "runs/release/edit", link_to_folder),
    (UNDO, "runs/release/rounds/1/forget_module", link_to_folder),
    (UNDO, "runs/release/report.html", link_to_file),
    (PURGE, "runs/release/rounds/1/forget_module", link_to_folder),
    (PURGE, "runs/release/reveal", link_to_folder),
    (PURGE, "runs/release/key", link_to_file),
    (RELEASE, "runs/release/rounds", link_to_folder),
    (RELEASE, "runs/release/rounds/2", dangling_link),
    (RELEASE, "runs/release/rounds/3", pipe),
    (REVEAL, "runs/reveal/reveal", link_to_folder),
    (REVEAL, "runs/reveal/recipe.yaml", dangling_link),
]
"""A verb, a place in a run folder, and what is put there instead of what the run has."""

OF_THE_USER: list[tuple[tuple[str, ...], str, Put | None]] = [
    (("export", "runs/lora", "--to", "target"), "target", link_to_folder),
    (("export", "runs/lora", "--to", "target"), "target", dangling_link),
    (("export", "runs/lora", "--to", "target"), "target", pipe),
    (("export", "runs/lora", "--to", "outside/folder"), "outside/folder", None),
    (("export", "runs/lora", "--to", "runs/lora/rounds"), "runs/lora", None),
    (("export", "runs/lora", "--to", "runs/lora/edit/model"), "runs/lora", None),
    (("compare", "runs/lora", "--html", "page.html"), "page.html", link_to_file),
    (("compare", "runs/lora", "--html", "page.html"), "page.html", dangling_link),
    (("compare", "runs/lora", "--html", "page.html"), "page.html", pipe),
    (("compare", "runs/lora", "--html", "page.html"), "page.html", hard_link),
    (("compare", "runs/lora", "--html", "/dev/null"), "/dev/null", None),
    (("compare", "runs/lora", "--html", "outside/notes.txt"), "outside/notes.txt", None),
    (("compare", "runs/lora", "--html", "runs/lora/recipe.yaml"), "recipe.yaml", None),
    (("compare", "runs/lora", "--html", "runs/lora/report.html"), "report.html", None),
    (("run", "lora.yaml", "--no-audit", "--out", "runs/other"), "runs/other", link_to_folder),
    (("run", "lora.yaml", "--no-audit", "--out", "outside/folder"), "outside/folder", None),
]
"""A verb that writes where the user says, what its sentence must name, and what is there."""


@pytest.fixture
def place(fresh: Callable[..., Place]) -> Callable[..., Place]:
    """Copy the place with some runs, and with a folder `outside` that no verb may change."""

    def make(*kinds: str) -> Place:
        copy = fresh(*kinds)
        (copy.folder / "outside" / "folder").mkdir(parents=True)
        (copy.folder / "outside" / "notes.txt").write_text("the user's notes\n")
        (copy.folder / "outside" / "folder" / "keynotes.txt").write_text("the user's\n")
        recipe = (copy.folder / "release.yaml").read_text(encoding="utf-8").replace("forget.jsonl", REVEALED)
        (copy.folder / "reveal.yaml").write_text(recipe.replace("runs/release", "runs/reveal"), encoding="utf-8")
        return copy

    return make


def judge(trials: Trials, what: str, outcome: Outcome, copy: Place, before: dict, named: str) -> None:
    """Count a trial: one sentence that names the place, and nothing outside has changed."""
    changed = tree(copy.folder / "outside") != before or not Path("/dev/null").is_char_device()
    trials.count("links", what, "outside" if changed else refusal(outcome, (named,)), outcome)


def test_a_link_or_a_device_in_a_run_folder_is_refused_by_every_verb(place: Callable[..., Place], trials: Trials):
    for words, name, put in IN_A_RUN:
        copy = place(*{word.removeprefix("runs/") for word in words if word.startswith("runs/")}, words[1].removesuffix(".yaml"))
        path = copy.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        before = tree(copy.folder / "outside")
        put(path, copy.folder / "outside")
        outcome = run_verb(*words, cwd=copy.folder)
        judge(trials, f"{' '.join(words)}: {put.__name__} as {name}", outcome, copy, before, name)
        assert os.path.lexists(path)


def test_what_the_user_names_is_not_replaced_unless_expunge_made_it(place: Callable[..., Place], trials: Trials):
    for words, named, put in OF_THE_USER:
        copy = place("lora")
        if put is not None:
            put(copy.folder / named, copy.folder / "outside")
        before, run = tree(copy.folder / "outside"), tree(copy.run("lora"))
        outcome = run_verb(*words, cwd=copy.folder)
        judge(trials, f"{' '.join(words)}: {put.__name__ if put else 'as it is'}", outcome, copy, before, named)
        assert {name: content for name, content in tree(copy.run("lora")).items() if name != ".lock"} == {
            name: content for name, content in run.items() if name != ".lock"
        }


def test_a_hard_link_is_replaced_and_not_written_through(place: Callable[..., Place], trials: Trials):
    copy = place("lora")
    names = ["metrics.jsonl", ".lock", "audit.json", "audit.parquet", "report.html", "run.json", "key", "attestation.json"]
    (copy.run("lora") / ".lock").write_text("the user's")
    for name in names:
        os.link(copy.run("lora") / name, copy.folder / "outside" / name)
    before = tree(copy.folder / "outside")
    outcome = run_verb("audit", "runs/lora", "--show-text", cwd=copy.folder)
    after = tree(copy.folder / "outside")
    for name in names:
        trials.count("links", f"hard link to {name}", "held" if after[name] == before[name] and outcome.code == 0 else "outside", outcome)


def test_a_comparison_replaces_an_earlier_comparison(place: Callable[..., Place]):
    copy = place("lora")
    for _ in range(2):
        assert run_verb("compare", "runs/lora", "--html", "page.html", cwd=copy.folder).code == 0
    assert (copy.folder / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_files_of_the_user_survive_every_verb(place: Callable[..., Place], trials: Trials):
    copy = place("lora", "release")
    names = [
        *(
            "keynotes.txt",
            "key.part",
            "revealed.jsonl.bak",
            "alternatives.jsonl.orig",
            "forget_module_notes",
            "X.part",
            "audit.json.4.part",
        ),
        *("rounds/1/forget_module.backup", "rounds/notes/forget_module", "reveal/search_log.jsonl.save", "report.html~"),
    ]
    files = [copy.folder / "plain.part", *(copy.run(kind) / name for kind in ("lora", "release") for name in names)]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("the user's")
    for words in (
        *(("run", "lora.yaml"), ("audit", "runs/lora"), ("export", "runs/lora", "--to", "plain"), ("release", "release.yaml")),
        *(("undo", "runs/release", "1"), ("purge", "runs/release", "--yes"), ("purge", "runs/lora", "--yes")),
    ):
        outcome = run_verb(*words, cwd=copy.folder)
        lost = [str(path) for path in files if not path.exists() or path.read_text() != "the user's"]
        trials.count("links", " ".join(words), "held" if outcome.code == 0 and not lost else "outside", f"{lost} {outcome}")


def test_a_cached_measurement_that_is_a_link_is_not_followed(place: Callable[..., Place], trials: Trials):
    copy = place("lora")
    measured = sorted((copy.folder / "cache" / "expunge" / "measured").glob("*.json"))
    outside = copy.folder / "outside" / "notes.txt"
    for path in measured:
        path.unlink()
        path.symlink_to(outside)
    outcome = run_verb("audit", "runs/lora", cwd=copy.folder)
    changed = outside.read_text() != "the user's notes\n"
    replaced = [path for path in measured if not path.is_symlink()]
    trials.count("links", "cache", "outside" if changed or outcome.code or not replaced else "held", outcome)
