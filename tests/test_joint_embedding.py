"""The collapse, and what prevents it."""

import numpy as np
import pytest

from fmri_utils.clip import joint
from fmri_utils.encoders import unit
from fmri_utils.project.errors import DataError


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(0)
    image = unit(rng.standard_normal((300, 20)))
    brain = image @ rng.standard_normal((20, 50)) + 0.3 * rng.standard_normal((300, 50))
    settings = dict(n_steps=300, batch_size=64, dim=8, temperature=0.1, seed=0)
    data = brain[:240], image[:240], brain[240:], image[240:]
    return {name: joint.train_joint(*data, name=name, **settings) for name in joint.OBJECTIVES}


def test_without_negatives_the_space_collapses(records):
    assert records["positive_only"]["spread"][-1] < records["infonce"]["spread"][-1] / 3
    assert records["positive_only"]["non_matching"][-1] > 0.9
    assert records["infonce"]["spread"][-1] > 0.9
    assert records["infonce"]["top1"][-1] > 0.3  # chance is 1/60


@pytest.mark.parametrize("name", ["variance", "stop_gradient"])
def test_remedies_keep_more_spread_than_matching_pairs_alone(records, name):
    assert records[name]["spread"][-1] > 2 * records["positive_only"]["spread"][-1]


def test_an_unknown_objective_is_refused():
    heads = joint.Heads(2, 2, 2)
    with pytest.raises(DataError, match="Valid objectives: infonce"):
        joint.loss_of("triplet", heads, 0.1)
