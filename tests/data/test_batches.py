"""Paired batches: the same for any ranks and micro-batches, every record equally often, little padding."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from expunge.data.batches import Pair, PairLoader, PairSampler, Plan, epoch_batches
from expunge.data.prompts import PromptBuilder
from expunge.data.records import read_records

TOFU = Path(__file__).resolve().parents[3] / "shared" / "data" / "tofu"
LENGTHS = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 70)), min_size=1, max_size=70)


@st.composite
def plans(draw) -> Plan:
    forget, retain = draw(LENGTHS), draw(st.one_of(st.just([]), LENGTHS))
    ranks, accumulation, rows = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    return Plan(forget, retain, ranks * accumulation * rows, ranks, accumulation, seed=draw(st.integers(0, 9)))


def on_one_rank(plan: Plan) -> Plan:
    return Plan(plan.forget_lengths, plan.retain_lengths, plan.batch_size, seed=plan.seed)


def union_of_ranks(plan: Plan, epoch: int) -> list[list[Pair]]:
    """The pairs of all ranks together in each step of an epoch."""
    samplers = [PairSampler(plan, rank) for rank in range(plan.world_size)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    steps: list[list[Pair]] = [[] for _ in range(plan.steps)]
    for sampler in samplers:
        micro_batches = list(sampler)
        assert len(micro_batches) == len(sampler)
        for i, micro_batch in enumerate(micro_batches):
            steps[i // plan.accumulation] += micro_batch
    return steps


@settings(deadline=None)
@given(plans(), st.integers(0, 3))
def test_a_step_has_the_same_pairs_for_any_ranks_and_micro_batches(plan, epoch):
    assume(len(plan.forget_lengths) >= plan.batch_size)
    together = [sorted(step) for step in union_of_ranks(plan, epoch)]
    assert together == [sorted(batch) for batch in epoch_batches(on_one_rank(plan), epoch)]


@settings(deadline=None)
@given(plans(), st.integers(0, 3))
def test_every_micro_batch_has_the_same_number_of_pairs(plan, epoch):
    sizes = {len(micro) for rank in range(plan.world_size) for micro in PairSampler(plan, rank)}
    assert sizes == {plan.rows_per_step // (plan.world_size * plan.accumulation)}


@settings(deadline=None)
@given(plans(), st.integers(0, 3))
def test_every_forget_record_occurs_once_an_epoch_and_the_last_step_is_filled_up(plan, epoch):
    pairs = [pair for batch in epoch_batches(plan, epoch) for pair in batch]
    seen = Counter(row for _, row, _ in pairs)
    assert set(seen) == set(range(len(plan.forget_lengths)))
    assert seen.total() == plan.steps * plan.rows_per_step
    assert seen.total() - len(seen) < plan.rows_per_step
    assert {at for at, _, _ in pairs} == {epoch}


@settings(deadline=None)
@given(plans(), st.integers(1, 5))
def test_retain_records_occur_equally_often_over_the_epochs(plan, epochs):
    retain = [row for epoch in range(epochs) for batch in epoch_batches(plan, epoch) for _, _, row in batch]
    if not plan.retain_lengths:
        assert set(retain) == {-1}
        return
    seen = Counter(retain)
    times = [seen[row] for row in range(len(plan.retain_lengths))]
    assert max(times) - min(times) <= 1


@settings(deadline=None)
@given(plans())
def test_the_same_seed_gives_the_same_epoch(plan):
    assert epoch_batches(plan, 2) == epoch_batches(plan, 2)


def test_epochs_and_seeds_pair_differently():
    lengths = [(5, 5)] * 40
    first, again, other = (epoch_batches(Plan(lengths, lengths, 8, seed=seed), epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0)))
    partners = [{(f, r) for batch in batches for _, f, r in batch} for batches in (first, again, other)]
    assert partners[0] != partners[1]
    assert partners[0] != partners[2]


def test_a_forget_set_smaller_than_the_batch_is_one_step():
    # 3 rows, a batch of 16: one step of 3; two ranks need an even number, so one row comes twice
    alone, two = Plan([(4, 2)] * 3, [], 16), Plan([(4, 2)] * 3, [], 16, world_size=2)
    assert (alone.steps, alone.rows_per_step) == (1, 3)
    assert (two.steps, two.rows_per_step) == (1, 4)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch_size 16 is not a multiple of 3 ranks x 1 micro-batches"):
        Plan([(4, 2)] * 20, [], 16, world_size=3)


def test_a_loader_passes_the_epoch_to_its_sampler():
    plan = Plan([(4, 2)] * 12, [(4, 2)] * 12, 4)
    loader = PairLoader(_Same(), batch_sampler=PairSampler(plan), collate_fn=list)
    loader.set_epoch(3)
    assert list(loader) == epoch_batches(plan, 3)


class _Same:
    def __getitem__(self, pair):
        return pair


def padding(plan: Plan, side: int, epochs: int) -> float:
    """Share of padding among the tokens of all batches; `side` 1: forget, 2: retain."""
    lengths = (plan.forget_lengths, plan.retain_lengths)[side - 1]
    real = padded = 0
    for epoch in range(epochs):
        for batch in epoch_batches(plan, epoch):
            rows = [lengths[pair[side]] for pair in batch]
            real += sum(prompt + answer for prompt, answer in rows)
            padded += len(rows) * (max(prompt for prompt, _ in rows) + max(answer for _, answer in rows))
    return 1 - real / padded


def test_padding_is_under_a_tenth_on_lengths_drawn_like_tofu():
    # TOFU with SmolLM2's chat template: prompts 47 +- 5 tokens, answers 36 +- 12, correlation 0.3
    rng = random.Random(0)

    def draw() -> tuple[int, int]:
        prompt = rng.gauss(0, 1)
        answer = 0.3 * prompt + (1 - 0.3**2) ** 0.5 * rng.gauss(0, 1)
        return max(35, round(47 + 5 * prompt)), max(7, round(36 + 12 * answer))

    plan = Plan([draw() for _ in range(400)], [draw() for _ in range(3600)], batch_size=16)
    assert padding(plan, 1, epochs=3) < 0.1
    assert padding(plan, 2, epochs=3) < 0.1


@pytest.mark.real
@pytest.mark.skipif(not TOFU.is_dir(), reason="TOFU is not at ../shared/data/tofu")
def test_padding_is_under_a_tenth_on_tofu(smollm2_tokenizer):
    builder = PromptBuilder(smollm2_tokenizer)
    rows = [builder.record(record) for record in read_records(TOFU / "full.jsonl")]
    lengths = [(len(row.prompt), len(row.answer)) for row in rows]
    plan = Plan(lengths[3600:], lengths[:3600], batch_size=16)
    assert padding(plan, 1, epochs=3) < 0.1
    assert padding(plan, 2, epochs=3) < 0.1
