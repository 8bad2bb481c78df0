"""Fréchet distance: library against closed forms, and during training."""

import pickle

import numpy as np
import pytest
import torch
from refusals import refused
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from fmri_utils.metrics import frechet_distance, training_monitor
from fmri_utils.metrics.frechet import fid_weights
from fmri_utils.project.errors import WeightsError


def closed_form(a, b):
    """Also for fewer rows than columns: the root's trace by the sets' own inner products."""
    x, y = ((f - f.mean(0)) / np.sqrt(len(f) - 1) for f in (a, b))
    traces = (x**2).sum() + (y**2).sum() - 2 * np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + traces


def test_agrees_with_closed_forms(rng):
    a = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6)) + 50
    b = rng.standard_normal((150, 6)) @ rng.standard_normal((6, 6)) + 50.5
    assert frechet_distance(a, b) == pytest.approx(closed_form(a, b), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(a, a + 2.0) == pytest.approx(6 * 4, rel=1e-6)


def test_bad_features_are_refused(rng):
    a = rng.standard_normal((20, 4))
    for b in (a[:, :3], a[:1], a[0], np.where(a > 2, np.nan, a) * np.nan):
        refused("Expected", frechet_distance, a, b)


# The FID while training: the library's network, here with random weights


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the network's file is looked for."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = fid_weights().cached
    path.parent.mkdir()
    return path


def inception(path):
    """A file as the published one, but random."""

    class Random(FeatureExtractorInceptionV3):
        def load_state_dict(self, state):
            return state

    torch.save({}, path)
    torch.manual_seed(0)
    network = Random("inception-v3-compat", ["2048"], str(path))
    torch.save(network.state_dict(), path)
    return network


@pytest.mark.slow  # eigenvalues of matrices of 2048 rows
def test_with_its_weights_the_monitor_gives_the_fid(rng, path):
    network = inception(path)
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    monitor = training_monitor(images, None)
    drawn = torch.from_numpy(images).permute(0, 3, 1, 2)
    for factor in (1.0, 0.3):  # a second look has forgotten the first one's pictures
        pictures = (drawn.float() / 127.5 - 1) * factor
        (features,) = network(((pictures + 1) * 127.5).round().byte())
        (truth,) = network(drawn)
        expected = closed_form(truth.double().numpy(), features.double().numpy())
        assert monitor(pictures)["fid"] == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.usefixtures("path")
def test_without_them_it_is_the_distance_in_clip_space_and_says_so(rng):
    images = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    monitor = training_monitor(images, lambda x: x.reshape(len(x), -1)[:, ::16] / 255.0)
    drawn = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert monitor(drawn) == {"frechet_clip": pytest.approx(0, abs=1e-5)}
    assert monitor(drawn * 0.2)["frechet_clip"] > 0.1


@pytest.mark.usefixtures("path")
def test_the_floor_is_the_distance_of_real_pictures_from_real_ones(rng):
    real = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)

    def embed(images):
        return images.reshape(len(images), -1)[:, ::16] / 255.0

    monitor = training_monitor(real[:30], embed, others=real[30:])
    found = monitor(torch.from_numpy(real[:30]).permute(0, 3, 1, 2).float() / 127.5 - 1)
    floor = found["frechet_clip, real pictures"]
    assert floor == pytest.approx(frechet_distance(embed(real[:30]), embed(real[30:])))
    assert floor > 0.05 > found["frechet_clip"]  # real pictures of one kind, and yet not at 0


def test_a_file_that_is_no_weights_is_refused_and_never_run(rng, path, tmp_path):
    images = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    mark = tmp_path / "mark"
    hostile = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
    for content in (hostile, pickle.dumps([1], 2)):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"the FID's Inception: .* cannot be read"):
            training_monitor(images, None)
    torch.save({"fc.bias": torch.ones(3)}, path)
    refused("make weights PROFILE=nsd", training_monitor, images, None, error=WeightsError)
    assert not mark.exists()
