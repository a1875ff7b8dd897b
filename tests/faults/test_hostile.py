"""Hostile input: bombs and hangs end within seconds, crafted files are one sentence that names the file, and nothing is written."""

import gzip
import json
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from harness import VERBS, run_verb, tree
from hostile_files import mutations, rehash, rehash_facts

from expunge.sandbox import search

SECONDS = 20.0
BACKTRACKS = r"^(a|\w|.)*$(?<!\w)"
RECIPE = {"model": "model", "data": {"forget": "forget.jsonl", "retain": "retain.jsonl"}, "objective": "npo", "out": "runs/new"}
REVEAL = {"oracle": {"name": "regex", "pattern": "a"}, "instructions": ["Tell me"], "budget": 8}


@dataclass(frozen=True)
class Bomb:
    """A file that needs hours or all memory unless it is refused.

    Attributes:
        words: of the command; `bomb` is the file.
        name: of the file, relative to the place.
        make: writes it.
        named: what the sentence must contain; none: the file's name.
    """

    words: tuple[str, ...]
    name: str
    make: Callable[[Path], object]
    named: str = ""


def text(content: str | bytes) -> Callable[[Path], object]:
    """Return a function that writes a file."""
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def recipe(**sections: object) -> Callable[[Path], object]:
    """Return a function that writes a recipe with other sections."""
    return text(yaml.safe_dump({**RECIPE, **sections}))


def config(**settings: int) -> Callable[[Path], object]:
    """Return a function that changes settings of a model."""
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def leads_back(path: Path) -> None:
    """Make a run a request on itself."""
    path.write_text(path.read_text().replace("model: model", "model: runs/reft"))


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
RUN, VALIDATE, CHAT = ("run", "bomb.yaml"), ("validate", "bomb.jsonl"), VERBS["chat"].on("lora")
SUITE, REQUEST, ATTACKS = (
    (*VERBS[verb].on(kind)[:2], *more, "bomb.yaml")
    for verb, kind, more in (("audit", "reft", ("--suite",)), ("audit", "reft", ("--request",)), ("audit", "grun", ("--gate", "--attacks")))
)
BOMBS = {
    "lists that multiply": Bomb(RUN, "bomb.yaml", text(LAUGHS)),
    "lists that multiply in a suite": Bomb(SUITE, "bomb.yaml", text(LAUGHS)),
    "lists that multiply in a request": Bomb(REQUEST, "bomb.yaml", text(LAUGHS)),
    "lists that multiply in templates": Bomb(ATTACKS, "bomb.yaml", text(LAUGHS)),
    "a list inside itself": Bomb(RUN, "bomb.yaml", text("data: &a [*a]")),
    "deep lists": Bomb(RUN, "bomb.yaml", text("data: " + "[" * 200_000)),
    "deep mappings": Bomb(RUN, "bomb.yaml", text("\n".join(f"{' ' * depth}a:" for depth in range(1400)))),
    "a million values": Bomb(RUN, "bomb.yaml", text("data: [" + "1," * 500_000 + "]")),
    "5,000 digits": Bomb(RUN, "bomb.yaml", text(f"data: {'9' * 5000}")),
    "a number in base 60": Bomb(RUN, "bomb.yaml", text("data: 1" + ":59" * 300_000)),
    "40 MB of YAML": Bomb(RUN, "bomb.yaml", text(b"# " + b"x" * 40_000_000)),
    "a pipe as a recipe": Bomb(RUN, "bomb.yaml", os.mkfifo),
    "a pipe as records": Bomb(VALIDATE, "bomb.jsonl", os.mkfifo),
    "a device as records": Bomb(VALIDATE, "bomb.jsonl", lambda path: path.symlink_to("/dev/zero")),
    "a pipe as an attestation": Bomb(("verify", "bomb"), "bomb", os.mkfifo),
    "a line of 40 MB": Bomb(VALIDATE, "bomb.jsonl", text(b'{"prompt": "' + b"x" * 40_000_000)),
    "deep JSON": Bomb(VALIDATE, "bomb.jsonl", text('{"a": ' + "[" * 200_000)),
    "digits in JSON": Bomb(VALIDATE, "bomb.jsonl", text('{"a": ' + "9" * 1_000_000 + "}")),
    "a pattern of layers": Bomb(RUN, "bomb.yaml", recipe(edit={"name": "lora", "modules": BACKTRACKS}), "edit.modules"),
    "a pattern of weights": Bomb(RUN, "bomb.yaml", recipe(edit={"name": "full", "modules": BACKTRACKS}), "edit.modules"),
    "a pattern of a release": Bomb(RUN, "bomb.yaml", recipe(release={"module": {"modules": BACKTRACKS}}), "release.module.modules"),
    "a pattern that fills the memory": Bomb(
        RUN, "bomb.yaml", recipe(data={"forget": {"reveal": {**REVEAL, "truncate_at": "(?:(?:(?:(?:a{9999}){9999}){9999}){9999}){9999}"}}})
    ),
    "a slot that fills the memory": Bomb(ATTACKS, "bomb.yaml", text("a: ['{prompt:>99999999999}']")),
    "a run on itself": Bomb(VERBS["chat"].on("reft"), "runs/reft/recipe.yaml", leads_back, "runs/reft"),
    "a wide model": Bomb(CHAT, "model/config.json", config(hidden_size=10**9)),
    "a deep model": Bomb(CHAT, "model/config.json", config(num_hidden_layers=10**7)),
    "a large vocabulary": Bomb(CHAT, "model/config.json", config(vocab_size=10**11)),
    "many heads": Bomb(CHAT, "model/config.json", config(num_attention_heads=10**8), "model: "),
    "a header without an end": Bomb(CHAT, "model/model.safetensors", text(struct.pack("<Q", 2**62) + b"{")),
    "packed programs": Bomb(
        ("run", "release.yaml", "--out", "runs/new", "task.name=code", "task.data=bomb.jsonl.gz", "task.maths=forget.jsonl"),
        "bomb.jsonl.gz",
        lambda path: path.write_bytes(gzip.compress(b" " * 80_000_000, 1)),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_seconds(name, fresh, trials, monkeypatch):
    monkeypatch.setattr(search, "SECONDS", 1.0)
    bomb, place = BOMBS[name], fresh("lora", "reft", "grun")
    (place.folder / bomb.name).unlink(missing_ok=True)
    if bomb.name.startswith(("runs/", "model/")):
        (place.folder / bomb.name).write_bytes((fresh("lora", "reft", "grun").folder / bomb.name).read_bytes())
    bomb.make(place.folder / bomb.name)
    started = time.monotonic()
    ended = run_verb(*bomb.words, cwd=place.folder, seconds=SECONDS)
    assert time.monotonic() - started < SECONDS
    trials.refused("hostile", name, ended, bomb.named or bomb.name)
    assert ended.code == 2, ended
    assert not (place.folder / "runs" / "new" / "edit").exists()


CRAFTED = {
    "run.json of a LoRA": ("lora", "run.json", False, ("chat", "audit", "export", "compare", "verify")),
    "run.json of a release": ("release", "run.json", False, ("chat", "undo", "export", "verify")),
    "round.json": ("release", "rounds/1/round.json", True, ("undo", "verify")),
    "the first round.json": ("release", "rounds/0/round.json", True, ("undo", "verify")),
    "the configuration of a module": ("release", "rounds/1/forget_module/adapter_config.json", True, ("undo",)),
    "the configuration of a LoRA": ("lora", "edit/adapter_config.json", True, ("chat", "export")),
    "the configuration of a gated edit": ("grun", "edit/adapter_config.json", True, ("chat", "gate", "add request")),
    "base.json": ("lora", "edit/base.json", True, ("chat",)),
    "manifest.json": ("lora", "edit/manifest.json", False, ("chat", "export")),
    "audit.json": ("lora", "audit.json", False, ("compare", "verify")),
    "an attestation": ("lora", "attestation.json", False, ("verify",)),
}
"""Crafted files: kind of run, file, whether its hashes are made right again, and verbs that read it, in turn."""
IN_CI = 16
"""Mutations of each file in CI; `make faults` tries all."""


def craft(place, kind: str, name: str, content: str, hashes: bool) -> None:
    """Replace a file of a run."""
    (place.run(kind) / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    if hashes:
        rehash(place.run(kind))


def try_mutations(name: str, fresh, trials, of_all: slice) -> None:
    """Try mutations of a file: each ends with the work done or with one sentence; one that is no JSON is refused."""
    kind, file, hashes, verbs = CRAFTED[name]
    content = (fresh(kind).run(kind) / file).read_text(encoding="utf-8")
    for number, (mutation, crafted) in enumerate(list(mutations(content))[of_all]):
        place, verb = fresh(kind), verbs[number % len(verbs)]
        craft(place, kind, file, crafted, hashes)
        if file == "run.json" and ":" in mutation:
            rehash_facts(place.run(kind) / file)
        before = tree(place.run(kind))
        ended = run_verb(*VERBS[verb].on(kind), cwd=place.folder, seconds=SECONDS)
        what = f"{name}, {mutation}, {verb}"
        if ":" in mutation:
            trials.survived("hostile", what, ended)
        else:
            trials.refused("hostile", what, ended, f"runs/{kind}")
        if ended.code == 2 and tree(place.run(kind)) != before:
            trials.count("hostile", what, "outside", "a refused command changed the run")


@pytest.mark.parametrize("name", CRAFTED)
def test_a_file_that_is_not_json_is_refused_by_its_name(name, fresh, trials):
    try_mutations(name, fresh, trials, slice(0, 12))


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_field_is_one_sentence_or_harmless(name, fresh, trials):
    kind, file, *_ = CRAFTED[name]
    count = sum(1 for _ in mutations((fresh(kind).run(kind) / file).read_text(encoding="utf-8")))
    try_mutations(name, fresh, trials, slice(12, None, max(1, (count - 12) // IN_CI)))


@pytest.mark.long
@pytest.mark.parametrize("name", CRAFTED)
def test_every_crafted_field_is_one_sentence_or_harmless(name, fresh, trials):
    try_mutations(name, fresh, trials, slice(12, None))


HOSTILE_NAME = "\u202eevil\x1b[31m\rrun\x07"


@pytest.mark.parametrize("verb", ["chat", "audit", "verify", "compare", "export"])
def test_a_name_cannot_control_the_terminal(verb, fresh, trials):
    ended = run_verb(verb, HOSTILE_NAME, cwd=fresh().folder)
    shown = "<U+202E>evil<U+001B>[31m<U+000D>run<U+0007>"
    trials.refused("hostile", f"a name, {verb}", ended, shown)
    assert not {"\x1b", "\u202e", "\r", "\x07"} & set(ended.err + ended.out)


def test_a_question_cannot_control_the_terminal(fresh):
    ended = run_verb("chat", "runs/lora", "--ask", "Who\x1b]0;title\x07 \u2066is\b it?", "--max-new-tokens", "2", cwd=fresh("lora").folder)
    assert ended.code == 0, ended
    assert not {"\x1b", "\x07", "\u2066", "\b"} & set(ended.out + ended.err)
