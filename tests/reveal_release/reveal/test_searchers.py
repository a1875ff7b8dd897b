"""Searchers that learn nothing: every candidate once, in an order that is decided beforehand."""

from hypothesis import given
from hypothesis import strategies as st

from expunge.reveal_release.reveal.searchers import InOrder, RandomSearch, Searcher


def ask_all(searcher: Searcher) -> list[int]:
    proposed = []
    while some := searcher.propose(1):
        (index,) = some
        proposed.append(index)
        searcher.observe(index, 0.0)
    return proposed


def test_texts_come_in_their_order():
    assert ask_all(InOrder(4)) == [0, 1, 2, 3]


def test_nothing_is_proposed_of_an_empty_pool():
    assert InOrder(0).propose(3) == []
    assert RandomSearch(0, 1).propose(3) == []


def test_the_same_is_proposed_until_it_is_observed():
    searcher = RandomSearch(9, 1)
    (first,) = searcher.propose(1)
    assert searcher.propose(1) == [first]
    searcher.observe(first, 0.0)
    assert searcher.propose(1) != [first]


def test_as_many_are_proposed_at_once_as_no_answer_matters_to():
    assert InOrder(5).propose(3) == [0, 1, 2]
    assert len(RandomSearch(5, 1).propose(9)) == 5


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_random_search_asks_every_candidate_once(count, seed):
    order = ask_all(RandomSearch(count, seed))
    assert sorted(order) == list(range(count))
    assert ask_all(RandomSearch(count, seed)) == order


@given(st.integers(1, 40), st.data())
def test_a_random_search_that_observes_the_same_goes_on_the_same(count, data):
    order, known = ask_all(RandomSearch(count, 7)), data.draw(st.integers(0, count - 1))
    resumed = RandomSearch(count, 7)
    for index in order[:known]:
        resumed.observe(index, 0.5)
    assert ask_all(resumed) == order[known:]


def test_orders_differ_by_seed():
    assert ask_all(RandomSearch(30, 1)) != ask_all(RandomSearch(30, 2))
