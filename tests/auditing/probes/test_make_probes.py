"""Which probes an audit runs."""

from expunge.auditing.attacks import Quantise, SwitchOff
from expunge.auditing.probes import make_probes
from expunge.auditing.probes.attacks import AttackProbe
from expunge.auditing.record_metrics import Settings
from expunge.auditing.suite import Suite
from expunge.config import DataSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.records import question_record
from expunge.runs.splits import Splits

SUITE = Suite(budget_seconds=1)
SETTINGS = Settings(max_new_tokens=4, batch_size=2, show_text=False)
SPLITS = Splits([question_record("a", "Who?", "Ana.")], [], [], [])


def names(suite: Suite | None) -> list[str]:
    recipe = Recipe(data=DataSection(forget="forget.jsonl", retain="retain.jsonl"))
    return [type(probe).__name__ for probe in make_probes(recipe, SPLITS, SETTINGS, suite, None, Display())]


def test_without_a_suite_no_probe_runs():
    assert names(None) == []


def test_a_suite_runs_membership_inference_only_if_it_sets_a_number_of_records():
    assert names(SUITE) == ["AttackProbe", "PerplexityProbe"]
    assert names(SUITE.model_copy(update={"membership_records": 8})) == ["AttackProbe", "PerplexityProbe", "MembershipProbe"]


def test_an_attack_that_removes_the_edit_does_not_run_on_changed_weights():
    attacks = [SwitchOff(), Quantise()]
    probes = [AttackProbe(attacks, SPLITS, SETTINGS, 0, removable, Display()) for removable in (True, False)]
    assert [probe.attacks for probe in probes] == [attacks, [Quantise()]]
