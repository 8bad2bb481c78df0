"""The collapse, and what prevents it."""

import numpy as np
import pytest
from refusals import refused

from fmri_utils.clip import joint
from fmri_utils.encoders import unit

SETTINGS = dict(n_steps=300, batch_size=64, dim=8, temperature=0.1, seed=0)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    image = unit(rng.standard_normal((300, 20)))
    brain = image @ rng.standard_normal((20, 50)) + 0.3 * rng.standard_normal((300, 50))
    return brain[:240], image[:240], brain[240:], image[240:]


@pytest.fixture(scope="module")
def records(data):
    return {name: joint.train_joint(*data, name=name, **SETTINGS) for name in joint.OBJECTIVES}


def test_without_negatives_the_space_collapses(records):
    assert records["positive_only"]["spread"][-1] < records["infonce"]["spread"][-1] / 3
    assert records["positive_only"]["non_matching"][-1] > 0.9
    assert records["infonce"]["spread"][-1] > 0.9
    assert records["infonce"]["top1"][-1] > 0.3  # chance is 1/60


@pytest.mark.parametrize("name", ["variance", "stop_gradient"])
def test_remedies_keep_more_spread_than_matching_pairs_alone(records, name):
    assert records[name]["spread"][-1] > 2 * records["positive_only"]["spread"][-1]


def test_the_chosen_step_is_the_best_on_the_validation_images_and_changes_no_record(data, records):
    how = SETTINGS | dict(name="infonce")
    (record, own) = (joint.train_joint(*data, validation=v, **how) for v in (data[:2], data[2:]))
    np.testing.assert_array_equal(record["top1"], records["infonce"]["top1"])
    np.testing.assert_array_equal(own["validation"], own["mrr"])
    assert record["validation"][record["chosen"]] == record["validation"].max()
    assert (record["validation"][-5:] > own["validation"][-5:]).all()  # it was trained on these


def test_an_unknown_objective_is_refused():
    heads = joint.Heads(2, 2, 2)
    refused("Valid objectives: infonce", joint.loss_of, "triplet", heads, 0.1)
