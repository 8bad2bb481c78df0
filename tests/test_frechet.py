"""Fréchet distance: library against closed forms, and during training."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from fmri_utils.errors import DataError
from fmri_utils.metrics import frechet_distance, frechet_monitor


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def closed_form(a, b):
    covariances = np.cov(a.T), np.cov(b.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sum(covariances) - 2 * root)


def test_agrees_with_the_formula_and_with_scipy(rng):
    a = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6)) + 50
    b = rng.standard_normal((150, 6)) @ rng.standard_normal((6, 6)) + 50.5
    assert frechet_distance(a, b) == pytest.approx(closed_form(a, b), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(a, a + 2.0) == pytest.approx(6 * 4, rel=1e-6)


def test_bad_features_are_refused(rng):
    a = rng.standard_normal((20, 4))
    for b in (a[:, :3], a[:1], a[0], np.where(a > 2, np.nan, a) * np.nan):
        with pytest.raises(DataError, match="Expected"):
            frechet_distance(a, b)


def test_the_monitor_reads_pictures_as_the_training_draws_them(rng):
    images = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    monitor = frechet_monitor(images, lambda x: x.reshape(len(x), -1)[:, ::16] / 255.0, "frechet")
    drawn = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert monitor(drawn)["frechet"] == pytest.approx(0, abs=1e-5)
    assert monitor(drawn * 0.2)["frechet"] > 0.1
