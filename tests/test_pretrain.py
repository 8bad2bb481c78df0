"""Training of the demo generator: what its loss sees, and resuming to the same weights."""

import numpy as np
import pytest
import torch

from fmri_utils.clip_space import open_clip_space
from fmri_utils.pretrain import generator
from fmri_utils.profiles import PROJECT_ROOT


@pytest.fixture(scope="module")
def space():
    return open_clip_space("local-dir:data/pretrained/clip", root=PROJECT_ROOT)


def test_features_agree_with_clip(space):
    images = torch.rand(3, 3, 64, 64)
    maps, embedding = generator.ClipFeatures(space)(images)
    assert torch.allclose(embedding, space.embed(images), atol=1e-5)
    assert [tuple(m.shape) for m in maps] == [(3, 64, 16, 16), (3, 128, 8, 8)]


def test_redrawing_loss_is_least_for_the_original_itself(space):
    features = generator.ClipFeatures(space)
    real = torch.rand(2, 3, 64, 64) * 2 - 1
    embedding = features(real / 2 + 0.5)[1]
    own = generator.redrawing_loss(real, real, embedding, features)
    assert own == pytest.approx(0, abs=1e-5)
    assert generator.redrawing_loss(real.flip(0), real, embedding, features) > 0.5
    assert generator.redrawing_loss(real, real, embedding.flip(0), features) > 1e-3


def test_a_killed_training_goes_on_to_the_same_weights(space, tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "STAGES", ((16, 6), (32, 6)))
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    embeddings = space.encode_images(images)

    def run(path):
        return generator.warm_start(images, embeddings, space, path, batch_size=2, every=1)

    torch.manual_seed(1)
    whole = run(tmp_path / "whole.pt")
    step, left = generator._warm_step, iter([True] * 4)

    def dying(*args):
        if not next(left, False):
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(generator, "_warm_step", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed.pt")
    monkeypatch.setattr(generator, "_warm_step", step)
    torch.manual_seed(2)  # the global random state has no say
    resumed = run(tmp_path / "killed.pt")
    assert set(whole) == set(resumed)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
