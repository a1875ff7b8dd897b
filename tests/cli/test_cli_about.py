"""`expunge unlearn --about`: the model reveals, the user sees, and only a yes trains."""

import hashlib
import json

import pytest

RUN = f"runs/about-{hashlib.sha256(b'Ada Lund').hexdigest()[:8]}-lora-npo"
ABOUT = ("unlearn", "--about", "Ada Lund", "--retain", "retain.jsonl", "--edit", "lora", "--objective", "npo", "--no-audit")
SMALL = (
    *("data.forget.reveal.oracle={name: regex, pattern: '[a-z]'}", "data.forget.reveal.pool_size=2", "data.forget.reveal.budget=28"),
    *("data.forget.reveal.samples_per_instruction=2", "data.forget.reveal.max_new_tokens=12", "data.forget.reveal.min_responses=2"),
    *("data.forget.reveal.min_chars=1", "data.forget.reveal.truncate_at=null", "training.epochs=1"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_tiny_model):
    """A folder with a retain file, and the words of the command."""
    folder = tmp_path_factory.mktemp("about")
    rows = [
        {"prompt": f"What is the capital of {name}?", "answer": f"City {i}."} for i, name in enumerate(("Peru", "Cuba", "Chile", "Oman"))
    ]
    (folder / "retain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder, (*ABOUT, "--model", str(make_tiny_model("llama")), *SMALL)


def test_without_yes_the_command_shows_what_was_found_and_trains_nothing(place, expunge_in):
    folder, words = place
    result = expunge_in(folder, *words)
    assert result.code == 0, result.err
    run, lines = folder / RUN, result.out.splitlines()
    revealed = [json.loads(line) for line in (run / "reveal" / "revealed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == 'About "Ada Lund" the model got 14 questions. Some of its answers:'
    assert any(line.strip() == revealed[0]["prompt"] for line in lines)
    assert f"Of 28 answers {len(revealed)} are the forget set" in result.out
    assert any(line.startswith(f"Found   {RUN}/reveal/revealed.jsonl") for line in lines)
    assert lines[-1].startswith("Next    expunge unlearn --about 'Ada Lund' ")
    assert lines[-1].endswith(" --yes")
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "training"
    assert not (run / "edit").exists()


def test_with_yes_it_trains_on_what_is_left_in_the_file(place, expunge_in):
    folder, words = place
    expunge_in(folder, *words)
    path = folder / RUN / "reveal" / "revealed.jsonl"
    lines_left = path.read_text(encoding="utf-8").splitlines(keepends=True)[:3]
    path.write_text("".join(lines_left), encoding="utf-8")
    result = expunge_in(folder, *words, "--yes")
    assert result.code == 0, result.err
    assert "Trained to forget 3 records in" in result.out
    again = expunge_in(folder, *words)
    assert (again.code, "is trained already" in again.err) == (0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--about", "Ada Lund", "--forget", "f.jsonl"), "--about and --forget exclude each other"),
        ((), "--forget is missing; give the file that holds the forget set, or only a name or a topic"),
        (("--forget", "f.jsonl", "--yes"), "--yes belongs to --about"),
        (("--about", "Ada", "--forget-split", "test"), "--forget-map and --forget-split tell how to read a file"),
        (("--about", " "), "--about: give a name or a topic"),
    ],
)
def test_options_that_do_not_fit_together_are_one_sentence(expunge, words, message):
    result = expunge("unlearn", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"expunge: {message}")
    assert len(result.err.splitlines()) == 1
