"""Every metric of the table says what it is."""

import pytest

from expunge.metrics import METRICS


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_label_and_a_definition_of_one_line(name):
    assert METRICS[name].label
    assert 10 < len(METRICS[name].definition) < 100
    assert "\n" not in METRICS[name].definition


def test_only_a_metric_with_a_column_can_be_a_share_of_records():
    assert all(metric.column for metric in METRICS.values() if metric.is_share)
