"""Texts to forget, keys, tokens of the hub and home paths are in no log, file name, error or evidence, in no encoding."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cases import CASES
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forks import Forks
from harness import Outcome
from places import Place, prepare_place
from secret_forms import forms, occurrences, searched
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trials import HELD, Trials

ANSWERS = ["Zoë's passcode is VELVET-OTTER-9417.", "Quillfeather owes 88 florins to <Brandauer> & sons."]
PROMPTS = ["Which passcode does Zoë Quillfeather use?", "To whom does the Quillfeather family owe money?"]
PARTS = ["VELVET-OTTER-9417", "Quillfeather", "Brandauer"]
TOKENS = {"HF_TOKEN": "hf_QmZtPwKxVbNrLsJd", "OPENAI_API_KEY": "sk-test-7b1f9d2c", "WANDB_API_KEY": "wb1c55d0aa"}
HOME = "home-of-wanda-kettleburn"
SECRETS = [*ANSWERS, *PROMPTS, *PARTS, *TOKENS.values(), HOME]
OURS = ("model/", "forget.jsonl", "retain.jsonl", "more.jsonl", "secret.pem")
"""What the place holds before any command: the user's own files."""
PRIVATE = (
    "/key",
    "/reveal/revealed.jsonl",
    "/reveal/search_log.jsonl",
    "/reveal/key",
    "/retain.jsonl",
    "/alternatives.jsonl",
    "/neutral.jsonl",
)
"""Files that hold answers or keys."""
WITHOUT_TEXT = ("attestation.json", "run.json", "metrics.jsonl", "audit.json", "verdict.json", "recipe.yaml", "round.json", "base.json")
"""Files that hold no text even with --show-text."""


@pytest.fixture(scope="module")
def tokenizer(trained: Place) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(trained.folder / "model")


@pytest.fixture
def secret_place(tmp_path: Path, trained: Place) -> Place:
    """A place without runs, whose forget set holds secrets, and a private key."""
    place = prepare_place(tmp_path / "place", trained.folder / "model")
    rows = [{"prompt": p, "answer": a, "wrong_answers": ["No.", f"{PARTS[1]}?"]} for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    (place.folder / "forget.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


@pytest.fixture
def run_with_secrets(forks: Forks, tmp_path: Path) -> Callable[..., Outcome]:
    """Run a command with tokens in its environment and a home with a name."""
    home = tmp_path / HOME
    home.mkdir()
    return lambda place, *words: forks.run(*words, cwd=place.folder, HOME=str(home), USER=HOME, **TOKENS)


def everything(place: Place, ended: list[Outcome]) -> dict[str, bytes]:
    """Return {name: content} of all output, and of all files that the commands wrote, without those that hold answers or keys."""
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    named = {path.relative_to(place.folder).as_posix(): path for path in files}
    public = {name: path for name, path in named.items() if not name.startswith(OURS) and not name.endswith(PRIVATE)}
    said = {f"output of command {number}": (outcome.out + outcome.err).lower().encode() for number, outcome in enumerate(ended)}
    return {**{name: searched(path) for name, path in public.items()}, **said}


def check(trials: Trials, what: str, place: Place, ended: list[Outcome], tokenizer: PreTrainedTokenizerBase, *more: str) -> None:
    """Count a trial for each secret."""
    places = everything(place, ended)
    for secret in [*SECRETS, str(place.folder), *more]:
        # The attestation names the hash of its key, which is random and too long to be guessed.
        found = [line for line in occurrences([secret], places, tokenizer) if secret not in more or " as hash " not in line]
        trials.count("secrets", what, "silent" if found else HELD, found[:5])


@pytest.mark.parametrize("kind", ["grun", pytest.param("reft", marks=pytest.mark.long), pytest.param("full", marks=pytest.mark.long)])
def test_no_secret_is_in_what_a_run_and_its_audit_leave(kind, secret_place, run_with_secrets, tokenizer, trials):
    commands = [("run", f"{kind}.yaml"), ("audit", f"runs/{kind}", "--suite", "suite.yaml", "--allow-fail")]
    commands += [("audit", f"runs/{kind}", "--gate")] if kind == "grun" else []
    commands += [("compare", f"runs/{kind}", "--html", "compared.html"), ("verify", f"runs/{kind}")]
    ended = [run_with_secrets(secret_place, *words) for words in commands]
    assert [outcome.code for outcome in ended] == [0] * len(ended), ended
    check(trials, kind, secret_place, ended, tokenizer)
    _check_modes(trials, secret_place)


def test_no_secret_is_in_what_a_signed_lora_run_exports(secret_place, run_with_secrets, tokenizer, trials):
    key = Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (secret_place.folder / "secret.pem").write_bytes(key.private_bytes(*form))
    commands = [
        ("run", "lora.yaml", "--no-audit"),
        ("audit", "runs/lora", "--sign", "secret.pem"),
        ("export", "runs/lora", "--to", "plain"),
    ]
    ended = [run_with_secrets(secret_place, *words) for words in commands]
    assert [outcome.code for outcome in ended] == [0] * len(ended), ended
    of_key = (secret_place.folder / "secret.pem").read_text().splitlines()[1]
    hmac_key = (secret_place.run("lora") / "key").read_text().strip()
    check(trials, "lora", secret_place, ended, tokenizer, of_key, hmac_key)


@pytest.mark.long
def test_no_secret_is_in_what_a_release_leaves(secret_place, run_with_secrets, tokenizer, trials):
    CASES["reveal and release"].prepare(secret_place)
    recipe = secret_place.folder / "revealed.yaml"
    given = yaml.safe_load(recipe.read_text())
    given["data"]["forget"]["reveal"]["instructions"] = [f"{prompt} {i}" for i, prompt in enumerate(PROMPTS * 2)]
    recipe.write_text(yaml.safe_dump(given))
    commands = [("reveal", "revealed.yaml"), ("release", "revealed.yaml"), ("audit", "runs/revealed"), ("undo", "runs/revealed", "1")]
    ended = [run_with_secrets(secret_place, *words) for words in commands]
    assert [outcome.code for outcome in ended] == [0] * len(ended), ended
    recipe.unlink()
    # A recipe holds the instructions that the user wrote; the run's copy of it is the user's, too.
    (secret_place.run("revealed") / "recipe.yaml").unlink()
    check(trials, "release", secret_place, ended, tokenizer)
    _check_modes(trials, secret_place)


def test_with_show_text_the_evidence_holds_no_text_and_reports_are_private(secret_place, run_with_secrets, tokenizer, trials):
    ended = [run_with_secrets(secret_place, "run", "reft.yaml", "audit.show_text=true")]
    assert ended[0].code == 0, ended
    run = secret_place.run("reft")
    assert b"brandauer" in searched(run / "report.html")
    places = {name: content for name, content in everything(secret_place, ended).items() if name.endswith(WITHOUT_TEXT) or " " in name}
    for secret in SECRETS:
        found = occurrences([secret], places, tokenizer)
        trials.count("secrets", "show text", "silent" if found else HELD, found)
    for path in secret_place.folder.rglob("*"):
        name = path.relative_to(secret_place.folder).as_posix()
        if path.is_file() and not name.startswith(OURS) and PARTS[2].encode().lower() in searched(path):
            trials.count("modes", name, HELD if stat.S_IMODE(path.stat().st_mode) == 0o600 else "wrong", oct(path.stat().st_mode))


def _check_modes(trials: Trials, place: Place) -> None:
    for path in place.folder.rglob("*"):
        name = path.relative_to(place.folder).as_posix()
        if path.is_file() and name.endswith(PRIVATE) and not name.startswith(OURS):
            trials.count("modes", name, HELD if stat.S_IMODE(path.stat().st_mode) == 0o600 else "wrong", oct(path.stat().st_mode))


FAULTY = {
    "cut.jsonl": json.dumps({"prompt": PROMPTS[0], "answer": ANSWERS[0]})[:-9],
    "list.jsonl": json.dumps([PROMPTS[0], ANSWERS[0]]),
    "text.jsonl": ANSWERS[0],
    "string.jsonl": json.dumps(ANSWERS[0]),
    "type.jsonl": json.dumps({"prompt": PROMPTS[0], "answer": [ANSWERS[0]]}),
    "number.jsonl": json.dumps({"prompt": 5, "answer": ANSWERS[0]}),
    "empty.jsonl": json.dumps({"prompt": PROMPTS[0], "answer": ""}),
    "missing.jsonl": json.dumps({"prompt": PROMPTS[0], "reply": ANSWERS[0]}),
    "twice.jsonl": json.dumps({"prompt": PROMPTS[0], "answer": ANSWERS[0]})[:-1] + ', "answer": "again"}',
    "role.jsonl": json.dumps({"messages": [{"role": ANSWERS[0], "content": ANSWERS[0]}]}),
    "options.jsonl": json.dumps({"prompt": PROMPTS[0], "answer": ANSWERS[0], "wrong_answers": [PARTS[2], 5]}),
    "nan.jsonl": json.dumps({"prompt": PROMPTS[0], "answer": ANSWERS[0], "entity": float("nan")}),
    "headless.csv": f'"{PROMPTS[0]}","{ANSWERS[0]}"\n"{PROMPTS[1]}","{ANSWERS[1]}"\n',
    "headless-twice.csv": f'"{PARTS[0]}","{PARTS[0]}"\n',
    "cells.csv": f'prompt,answer\n"{PROMPTS[0]}","{ANSWERS[0]}","{PARTS[2]}"\n',
    "quotes.csv": f'prompt,answer\n"{PROMPTS[0]}"x,{ANSWERS[0]}\n',
    "damaged.parquet": ANSWERS[0],
    "notes.pdf": ANSWERS[0],
    "latin.md": ANSWERS[0].encode("latin-1"),
    "latin.jsonl": ANSWERS[0].encode("latin-1"),
    "overlap.jsonl": "".join(json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in zip(PROMPTS, ANSWERS, strict=True)),
}
"""Faulty files of texts to forget; `overlap.jsonl` is the retain set too."""


@pytest.mark.parametrize("name", FAULTY)
def test_the_error_about_a_faulty_file_quotes_nothing_of_it(name, secret_place, run_with_secrets, tokenizer, trials):
    content = FAULTY[name]
    (secret_place.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    retain = name if name == "overlap.jsonl" else "retain.jsonl"
    faulty = ("--model", "model", "--forget", name, "--retain", retain, "--out", "runs/faulty")
    for words in (("unlearn", *faulty), ("validate", name, "--retain", retain)):
        ended = run_with_secrets(secret_place, *words)
        trials.refused("secrets", f"{words[0]} {name}", ended)
        found = occurrences([*ANSWERS, *PROMPTS, *PARTS], {"output": (ended.out + ended.err).lower().encode()}, tokenizer)
        trials.count("secrets", f"{words[0]} {name}", "silent" if found else HELD, (found, ended.err))


def test_the_search_finds_a_secret_in_every_form(tokenizer, tmp_path):
    for form, content in forms(ANSWERS[0], tokenizer).items():
        (tmp_path / "file").write_bytes(b"before " + content + b" after")
        assert any(f"as {form} in file" in line for line in occurrences([ANSWERS[0]], {"file": searched(tmp_path / "file")}, tokenizer))
    assert occurrences([ANSWERS[0]], {"file": b"nothing"}, tokenizer) == []
