"""The harness itself: every verb does its work on intact runs, and trials are counted and judged."""

import time

import pytest
from harness import VERBS, Outcome, run_verb, tree
from report import write_page
from trials import Trials, added, refusal, summary_lines

from expunge.cli import main

REFUSED = Outcome(2, "", "Loading the model ...\nexpunge: runs/x/run.json: is damaged; train again\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_does_its_work_on_an_intact_run(verb, fresh):
    for kind in VERBS[verb].kinds:
        place = fresh(kind)
        ended = run_verb(*VERBS[verb].on(kind), cwd=place.folder)
        assert (ended.code, ended.traceback) == (0, ""), (kind, ended)


def test_the_table_names_every_verb_of_the_command_line():
    verbs = {verb.__name__.rpartition(".")[2] for group in main.VERBS.values() for verb in group}
    assert verbs - {verb.words[0] for verb in VERBS.values()} == {"demo", "ls", "release", "reveal"}


def test_a_copy_is_equal_and_independent(fresh, trained):
    before = tree(trained.folder)
    place = fresh("lora")
    of_copy = tree(place.folder)
    assert {name: before[name] for name in of_copy} == of_copy
    assert "runs/lora/edit/manifest.json" in of_copy
    assert not (place.folder / "runs" / "full").exists()
    (place.run("lora") / "run.json").unlink()
    assert tree(trained.folder) == before


def test_a_refusal_is_one_sentence_that_names_the_file():
    assert REFUSED.sentence == "runs/x/run.json: is damaged; train again"
    assert refusal(REFUSED, ["run.json"]) == "held"
    assert refusal(REFUSED, ["round.json"]) == "wrong"
    assert refusal(Outcome(2, "", "expunge: one\nexpunge: two\n")) == "wrong"
    assert refusal(Outcome(3, "", "expunge: one\n")) == "wrong"
    assert refusal(Outcome(0, "", "")) == "silent"
    assert refusal(Outcome(None, "", "", "KeyError")) == "traceback"
    assert refusal(Outcome(1, "", "expunge: unexpected KeyError in a.py:3; please report it\n")) == "traceback"
    assert refusal(Outcome(None, "", "", hung=True)) == "hang"


def test_trials_are_counted_by_section_over_all_tests():
    one, other = Trials(), Trials()
    one.refused("damage", "a bit", REFUSED, "run.json")
    one.refused("damage", "a zero", Outcome(0, "", ""))
    other.survived("damage", "nothing", Outcome(0, "", ""))
    other.count("links", "a link", "outside")
    assert summary_lines(added([one.counts, other.counts])) == [
        "damage: 3 trials, 1 silent, 0 outside, 0 hang, 0 traceback, 0 wrong",
        "links: 1 trials, 0 silent, 1 outside, 0 hang, 0 traceback, 0 wrong",
    ]
    assert [line.split(" Outcome")[0] for line in (*one.failures, *other.failures)] == ["damage: a zero: silent", "links: a link: outside "]


def test_a_verb_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(main, "main", lambda: time.sleep(60))
    assert refusal(run_verb("ls", "edits", cwd=tmp_path, seconds=0.1)) == "hang"


def test_the_page_has_a_row_for_each_section_and_says_if_all_held(tmp_path):
    trials = Trials()
    trials.count("kills", "one")
    write_page(tmp_path / "faults.md", added([trials.counts]), 90.0)
    assert "All of 1 trials held." in (tmp_path / "faults.md").read_text()
    trials.count("kills", "other", "hang")
    write_page(tmp_path / "faults.md", added([trials.counts]), 90.0)
    assert "1 of 2 trials did not hold." in (tmp_path / "faults.md").read_text()
    assert "| kills | 2 | 0 | 0 | 1 | 0 | 0 |" in (tmp_path / "faults.md").read_text()
