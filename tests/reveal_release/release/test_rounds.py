"""The rounds of a release on a tiny random model: they are exact, can be undone, and resume in any phase."""

import json
from contextlib import contextmanager

import pytest
from transformers import AutoModelForCausalLM

from expunge.config.recipe import Recipe, make_recipe
from expunge.console import Display
from expunge.errors import Damaged, InputError
from expunge.models.identity import weights_sha256
from expunge.models.loading import load
from expunge.pipeline.export import export_plain
from expunge.pipeline.release import release, undo
from expunge.reveal_release.release import choose_lambda, rounds
from expunge.reveal_release.release.line_search import validation_metrics
from expunge.reveal_release.release.round_results import count_rounds, curve, read_round
from expunge.reveal_release.release.train_module import UNCONSTRAINED, train_module
from expunge.reveal_release.reveal.private_files import FORGET_MODULE, purge
from expunge.reveal_release.reveal.select import NothingRevealed
from expunge.runs.folder import NEUTRAL, Run, default_folder
from expunge.runs.loaded import load_run, open_run
from expunge.runs.splits import read_splits

MODULE = {"rank": 2, "epochs": 2, "lr": 5e-3, "batch_size": 3, "save_steps": 1, "dtype": "fp32"}


@pytest.fixture
def recipe_for(tiny_model_dir, tiny_data, tmp_path):
    """Return a recipe with a release section: `make(out, forget=None, **release)`."""

    def make(out: str, forget: str | dict | None = None, **settings) -> Recipe:
        data = {"forget": forget or str(tiny_data[0]), "retain": str(tiny_data[1]), "held_out": 0.5}
        # These settings give a run every phase that it can have.
        phases = {"retain_module": "once", "refresh": "resample"}
        more = {"rounds": 2, "module": MODULE, "lambda_evaluations": 3, "max_utility_drop": 0.5, **phases, **settings}
        return make_recipe({"model": str(tiny_model_dir), "data": data, "release": more, "out": str(tmp_path / out)})

    return make


def weights_of(run: Run) -> str:
    return weights_sha256(load_run(open_run(run.folder)).model)


def test_a_release_raises_the_forget_nll_within_the_budget(recipe_for):
    run = release(recipe_for("run"), Display())
    rows = curve(run)
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert rows[-1]["validation_forget_nll"] > rows[0]["validation_forget_nll"]
    for number in (1, 2):
        facts = read_round(run, number)
        assert facts["chosen"]["utility_drop"] <= facts["max_utility_drop"] == 0.5 * number / 2
        assert facts["angles"]["A_smallest"] > 0
    assert run.read_info()["round"] == 2


def test_lambda_is_chosen_on_records_that_no_module_trained_on(recipe_for, monkeypatch):
    chosen_on, trained_on = [], []

    def watched_metrics(*given):
        chosen_on.extend(record.id for records in given[3:] for record in records)
        return validation_metrics(*given)

    def watched_training(model, builder, training, display, constraint=UNCONSTRAINED):
        trained_on.extend(record.id for record in constraint.records)
        train_module(model, builder, training, display, constraint)

    monkeypatch.setattr(choose_lambda, "validation_metrics", watched_metrics)
    monkeypatch.setattr(rounds, "train_module", watched_training)
    run = release(recipe_for("run", rounds=1), Display())
    neutral = {row["id"] for row in map(json.loads, (run.folder / NEUTRAL).read_text(encoding="utf-8").splitlines())}
    validation, training = set(chosen_on), set(trained_on)
    assert validation.isdisjoint(training)
    assert neutral <= validation | training
    assert neutral & validation
    assert neutral & training


def test_a_round_without_a_fitting_lambda_changes_nothing_and_ends_the_run(recipe_for, tiny_model_dir):
    # Every module changes so small a model by more than this budget.
    run = release(recipe_for("run", max_utility_drop=1e-9, lambda_evaluations=1), Display())
    assert read_round(run, 1)["stop"] == "no lambda fits the utility budget"
    assert count_rounds(run) == 1
    assert weights_of(run) == weights_sha256(load(tiny_model_dir)[0])


def test_the_rounds_end_at_the_target_forget_nll(recipe_for):
    run = release(recipe_for("run", target_forget_nll=0.1), Display())
    assert read_round(run, 1)["stop"] == "the forget data has reached its target NLL"
    assert count_rounds(run) == 1


def test_the_rounds_end_if_a_later_one_reveals_too_little(recipe_for, monkeypatch):
    def nothing_in_the_second(context, number):
        if number == 2:
            raise NothingRevealed("too little")
        return context.sets.forget

    monkeypatch.setattr(rounds, "forget_records", nothing_in_the_second)
    run = release(recipe_for("run"), Display())
    assert read_round(run, 2)["stop"] == "the model reveals too little for another round"
    assert [row["lambda"] for row in curve(run)] == [None, read_round(run, 1)["lambda_f"], 0.0]


def test_every_round_can_be_undone_and_repeated(recipe_for, tiny_model_dir):
    run = release(recipe_for("run"), Display())
    after = weights_of(run)
    undo(open_run(run.folder), 0, Display())
    assert weights_of(run) == weights_sha256(load(tiny_model_dir)[0])
    undo(open_run(run.folder), 1, Display())
    assert weights_of(run) not in (after, weights_sha256(load(tiny_model_dir)[0]))
    undo(open_run(run.folder), 2, Display())
    assert weights_of(run) == after
    with pytest.raises(InputError, match=r"has rounds 0 \(the original\) to 2, not 3"):
        undo(open_run(run.folder), 3, Display())


def test_a_finished_release_returns_at_once(recipe_for):
    run = release(recipe_for("run"), Display())
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock"}
    release(recipe_for("run"), Display())
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_export_is_a_plain_model_with_the_same_weights(recipe_for, tmp_path):
    run = release(recipe_for("run"), Display())
    folder = export_plain(open_run(run.folder), tmp_path / "plain", Display())
    assert weights_sha256(AutoModelForCausalLM.from_pretrained(folder)) == weights_of(run)
    with pytest.raises(InputError, match="plain: is there already"):
        export_plain(open_run(run.folder), folder, Display())


@pytest.mark.parametrize("refresh", ["reuse", "resample", "research"])
def test_later_rounds_refresh_the_revealed_data_as_the_recipe_says(recipe_for, refresh, reveal_settings):
    run = release(recipe_for("run", forget={"reveal": reveal_settings}, refresh=refresh), Display())
    assert count_rounds(run) == 2
    assert (run.folder / "rounds" / "2" / "reveal").exists() == (refresh != "reuse")
    first, second = (read_round(run, number)["records"]["sha256"] for number in (1, 2))
    assert (first == second) == (refresh == "reuse")


def test_a_purge_deletes_the_modules_and_leaves_the_model(recipe_for, reveal_settings):
    run = release(recipe_for("run", forget={"reveal": reveal_settings}), Display())
    before = weights_of(run)
    purge(run.folder)
    assert weights_of(run) == before
    assert not list(run.folder.rglob(FORGET_MODULE))
    with pytest.raises(InputError, match="the module of round 1 was purged"):
        undo(open_run(run.folder), 1, Display())
    with pytest.raises(InputError, match="its revealed data is gone"):
        read_splits(open_run(run.folder))


def test_a_task_is_measured_around_each_round_and_gives_the_retain_records(tiny_model_dir, tiny_data, tmp_path):
    task = {"name": "people", "forget_people": 1, "retain_people": 2, "max_new_tokens": 2}
    given = {"model": str(tiny_model_dir), "data": {"forget": str(tiny_data[0])}, "task": task, "out": str(tmp_path / "run")}
    run = release(
        make_recipe({**given, "release": {"rounds": 1, "module": MODULE, "lambda_evaluations": 1, "max_utility_drop": 0.9}}), Display()
    )
    assert run.read_info()["data"]["retain"]["source"] == "the task's own records"
    before, after = curve(run)
    assert before["neutral_perplexity"] != after["neutral_perplexity"]
    assert before["retain_leaked"] == after["retain_leaked"] == 0.0
    figures = run.folder / "rounds" / "1" / "measured.json"
    figures.write_text(figures.read_text(encoding="utf-8").replace("0.0", "0.5"), encoding="utf-8")
    with pytest.raises(Damaged, match=r"measured\.json: does not have the hash"):
        curve(run)


class Stopping(Display):
    """A display that interrupts the run at its n-th update."""

    def __init__(self, number: int):
        super().__init__()
        self.left = number

    def _count(self) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt

    @contextmanager
    def bar(self, title, total):
        self._count()
        with super().bar(title, total) as advance:

            def counted(done):
                self._count()
                advance(done)

            yield counted

    def progress(self):
        progress = super().progress()
        update = progress.update

        def counted(task_id, **kwargs):
            self._count()
            update(task_id, **kwargs)

        progress.update = counted
        return progress


@pytest.mark.long
def test_a_run_resumed_many_times_equals_an_uninterrupted_one(recipe_for, reveal_settings):
    settings = {"forget": {"reveal": reveal_settings}, "refresh": "research", "retain_module": "every_round", "retain_lambda": 0.5}
    whole = release(recipe_for("whole", **settings), Display())
    recipe, stops = recipe_for("stopped", **settings), 0
    while True:
        try:
            # Each attempt gets one update further than the one before.
            run = release(recipe, Stopping(2 + stops))
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 5
    assert weights_of(run) == weights_of(whole)
    for number in (1, 2):
        same = ("lambda_f", "lambda_r", "evaluations", "records", "angles")
        assert [read_round(run, number)[name] for name in same] == [read_round(whole, number)[name] for name in same]


def test_contradicting_settings_are_errors(tiny_data, tmp_path, reveal_settings):
    reveal = {**reveal_settings, "mode": "direct", "topics": ["The sea is"], "instructions": []}
    given = {"data": {"forget": {"reveal": reveal}, "retain": str(tiny_data[1])}, "out": str(tmp_path / "x")}
    with pytest.raises(InputError, match="resample samples again from instructions"):
        make_recipe({**given, "release": {"refresh": "resample"}})
    with pytest.raises(InputError, match=r"give topics .* or instructions"):
        make_recipe({**given, "data": {"forget": {"reveal": {"oracle": "python"}}}})
    with pytest.raises(InputError, match=r"no oracle 'nonsense'"):
        make_recipe({**given, "data": {"forget": {"reveal": {**reveal_settings, "oracle": "nonsense"}}}})


def test_the_default_folder_is_named_after_the_forget_file_and_the_method(reveal_settings):
    one, other = ({"data": {"forget": forget}, "release": {}} for forget in ("people/forget.jsonl", {"reveal": reveal_settings}))
    assert default_folder(make_recipe(one)) == "runs/forget-release"
    assert default_folder(make_recipe(other)) == "runs/revealed-release"
