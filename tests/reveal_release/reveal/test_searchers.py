"""Searchers that do not learn: they propose every candidate once, in a fixed order."""

from hypothesis import given
from hypothesis import strategies as st

from expunge.reveal_release.reveal.searchers import RandomSearch, Searcher, SequentialSearch


def propose_all(searcher: Searcher) -> list[int]:
    proposed = []
    while some := searcher.propose(1):
        (index,) = some
        proposed.append(index)
        searcher.observe(index, 0.0)
    return proposed


def test_sequential_search_proposes_candidates_in_their_order():
    assert propose_all(SequentialSearch(4)) == [0, 1, 2, 3]


def test_an_empty_pool_gives_no_proposals():
    assert SequentialSearch(0).propose(3) == []
    assert RandomSearch(0, 1).propose(3) == []


def test_a_proposal_is_repeated_until_its_observation():
    searcher = RandomSearch(9, 1)
    (first,) = searcher.propose(1)
    assert searcher.propose(1) == [first]
    searcher.observe(first, 0.0)
    assert searcher.propose(1) != [first]


def test_several_candidates_can_be_proposed_at_once():
    assert SequentialSearch(5).propose(3) == [0, 1, 2]
    assert len(RandomSearch(5, 1).propose(9)) == 5


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_random_search_proposes_every_candidate_once(count, seed):
    order = propose_all(RandomSearch(count, seed))
    assert sorted(order) == list(range(count))
    assert propose_all(RandomSearch(count, seed)) == order


@given(st.integers(1, 40), st.data())
def test_a_random_search_resumes_from_the_same_observations(count, data):
    order, observed = propose_all(RandomSearch(count, 7)), data.draw(st.integers(0, count - 1))
    resumed = RandomSearch(count, 7)
    for index in order[:observed]:
        resumed.observe(index, 0.5)
    assert propose_all(resumed) == order[observed:]


def test_the_order_depends_on_the_seed():
    assert propose_all(RandomSearch(30, 1)) != propose_all(RandomSearch(30, 2))
