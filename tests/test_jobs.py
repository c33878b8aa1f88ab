"""pytorch/jobs.py: how work is dealt out to jobs. What jobs make is tested with the steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch.jobs import deal

ITEMS = st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 5)), max_size=60)


@given(ITEMS, st.integers(1, 8))
def test_every_item_is_dealt_once_and_in_order(items, nj):
    numbered = list(enumerate(items))
    shares = [deal(numbered, nj, job, weight_of=lambda item: item[1][0]) for job in range(1, nj + 1)]
    assert sorted(item for share in shares for item in share) == numbered
    assert all(share == sorted(share) for share in shares)


@given(ITEMS, st.integers(1, 8))
def test_a_group_stays_with_one_job(items, nj):
    shares = [deal(items, nj, job, group_of=lambda item: item[1]) for job in range(1, nj + 1)]
    groups = [{group for _, group in share} for share in shares]
    assert all(not (one & other) for place, one in enumerate(groups) for other in groups[place + 1 :])


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=200), st.integers(2, 8))
def test_no_job_has_more_than_the_heaviest_item_above_another(weights, nj):
    loads = [sum(deal(weights, nj, job, weight_of=int)) for job in range(1, nj + 1)]
    assert max(loads) - min(loads) <= max(weights)


@pytest.mark.parametrize("nj", [1, 3])
def test_nothing_is_dealt_of_nothing(nj):
    assert deal([], nj, 1) == []
