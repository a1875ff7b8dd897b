"""Membership inference on a tiny random model."""

from io import StringIO

import pytest

from expunge.auditing.probes.base import ProbedModel
from expunge.auditing.probes.membership import MembershipProbe
from expunge.auditing.probes.nonmembers import NonMembers
from expunge.console import Display, SafeConsole
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.models.identity import weights_sha256
from expunge.models.loading import load


def records(*names: str) -> list[Record]:
    return [Record(f"row-{i}", (Turn("user", f"Who is {name}?"),), f"{name} is here.", line=i) for i, name in enumerate(names, 1)]


@pytest.fixture
def is_measured(tiny_model_dir, tmp_path, monkeypatch):
    """Whether scores had to be computed, not read from the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, tokenizer = load(tiny_model_dir)
    builder, identity = PromptBuilder(tokenizer), weights_sha256(model)

    def measured(members=("Ana", "Bo"), batch_size=2) -> bool:
        output = StringIO()
        others = NonMembers(records("Cy", "Di"), "a holdout")
        probe = MembershipProbe(records(*members), others, False, batch_size, Display(SafeConsole(file=output)))
        probe.run(ProbedModel("original", model, builder, identity))
        return "Membership" in output.getvalue()

    return measured


def test_scores_are_cached_for_the_same_records_and_batch_size(is_measured):
    assert is_measured()
    assert not is_measured()


@pytest.mark.parametrize("change", [{"batch_size": 1}, {"members": ("Bo", "Ana")}])
def test_another_batch_size_or_other_records_under_the_same_ids_are_measured_anew(is_measured, change):
    is_measured()
    assert is_measured(**change)
