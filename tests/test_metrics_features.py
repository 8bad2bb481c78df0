"""Feature scores against the same steps done by hand, with random weights in files of test."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_networks import BY_HAND, pictures, prepared_by_hand, randomly_initialised, write_weights
from refusals import refused
from safetensors.torch import save_file
from scipy.spatial import distance
from torchvision import models

from fmri_utils.metrics.feature_networks import NETWORKS, load_network
from fmri_utils.metrics.features import FeatureScorer, scores_and_chance
from fmri_utils.project.errors import WeightsError


@pytest.fixture(scope="module")
def picture_pairs():
    truth = np.concatenate([pictures(np.random.default_rng(seed), 4) for seed in range(4)])
    other = pictures(np.random.default_rng(9), 16)
    return truth, np.float32(0.7) * truth + np.float32(0.3) * other


def scores(scorer, truth, reconstruction, prepared=None):
    prepared = prepared or scorer.prepared(truth)
    found = scorer.correlations(truth, reconstruction, prepared)
    return {row: scores_and_chance(r, scorer.network.kind)[0] for row, r in found.items()}


@pytest.fixture(scope="module", params=list(NETWORKS))
def trial(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    model = randomly_initialised(request.param)
    return FeatureScorer(write_weights(request.param, model, folder)), model


@torch.no_grad()
def features_by_hand(name, model, images):
    """Resize, normalise, run, catch with hooks: nothing of the package."""
    nodes, x = BY_HAND[name][2], prepared_by_hand(name, images)
    if name == "CLIP":
        return {"CLIP": model.encode_image(x).numpy()}
    caught, hooks = {}, []
    for row, node in nodes.items():
        hook = model.get_submodule(node).register_forward_hook(
            lambda _m, _i, out, row=row: caught.update({row: out.flatten(1).clone().numpy()})
        )
        hooks.append(hook)
    (model.features if name == "AlexNet" else model)(x)
    for hook in hooks:
        hook.remove()
    return caught


def test_features_agree_with_hooks_set_by_hand(trial, picture_pairs):
    scorer, model = trial
    images = picture_pairs[0][:3]
    expected = features_by_hand(scorer.network.name, model, images)
    (ours,) = scorer.batches(images)
    assert list(ours) == list(expected) == list(scorer.network.rows)
    for row, values in expected.items():
        varies = np.abs(np.diff(values, axis=0)).max()
        assert varies > 1e-3 * np.abs(values).max()  # the pictures matter to the features
        np.testing.assert_allclose(ours[row], values, atol=1e-3 * varies)


def test_correlations_agree_with_scipy_on_16_pairs_in_small_blocks(
    picture_pairs, tmp_path, monkeypatch
):
    monkeypatch.setattr("fmri_utils.metrics.features.BATCH", 3)
    monkeypatch.setattr("fmri_utils.metrics.features.BLOCK", 4)
    model = randomly_initialised("CLIP")
    network = replace(write_weights("CLIP", model, tmp_path), kind="distance")
    scorer = FeatureScorer(network)
    r = scorer.correlations(*picture_pairs, scorer.prepared(picture_pairs[0]))["CLIP"]
    a, b = (features_by_hand("CLIP", model, images)["CLIP"] for images in picture_pairs)
    pairs = np.array([distance.correlation(x, y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(scores(scorer, *picture_pairs)["CLIP"], pairs, atol=1e-6)
    np.testing.assert_allclose(r, 1 - distance.cdist(a, b, "correlation"), atol=1e-6)
    wrong = distance.cdist(a, b, "correlation")[~np.eye(16, dtype=bool)].mean()
    assert scores_and_chance(r, "distance")[1] == pytest.approx(wrong, abs=1e-6)
    two_way, chance = scores_and_chance(r, "two-way")
    expected = [np.mean(np.delete(r[:, j], j) < r[j, j]) for j in range(16)]
    np.testing.assert_allclose(two_way, expected, atol=1e-6)
    assert chance == 0.5


@pytest.mark.parametrize("trial", ["AlexNet", "CLIP", "EfficientNet-B1"], indirect=True)
def test_fixture_equal_pictures_have_distance_zero_and_two_way_one(trial, picture_pairs):
    scorer, _ = trial
    truth = picture_pairs[0][:2]
    kind = scorer.network.kind
    for values in scores(scorer, truth, truth).values():
        np.testing.assert_allclose(values, 1.0 if kind == "two-way" else 0.0, atol=1e-7)


@pytest.mark.parametrize("trial", ["CLIP"], indirect=True)
def test_identical_pictures_tie_though_their_features_differ_by_rounding(trial, picture_pairs):
    scorer, _ = trial
    truth = picture_pairs[0][[0, 1, 2, 3, 0]]
    prepared = scorer.prepared(truth)
    prepared["CLIP"][4] *= 1 - np.float32(1e-6)  # as in another batch, or on another machine
    found = scores(scorer, truth, truth, prepared)["CLIP"]
    np.testing.assert_allclose(found, [3.5 / 4, 1, 1, 1, 3.5 / 4])


def test_inputs_are_those_of_the_librarys_weights():
    for name, weights in {
        "AlexNet": models.AlexNet_Weights.IMAGENET1K_V1,
        "InceptionV3": models.Inception_V3_Weights.DEFAULT,
        "EfficientNet-B1": models.EfficientNet_B1_Weights.IMAGENET1K_V2,
    }.items():
        ours, theirs, file = NETWORKS[name], weights.transforms(), NETWORKS[name].weights()
        assert (file.url, file.megabytes) == (weights.url, weights.meta["_file_size"])
        assert f"-{file.sha256_prefix}." in file.url and len(file.sha256_prefix) == 8
        assert (list(ours.mean), list(ours.std)) == (theirs.mean, theirs.std)
        assert [ours.size] == theirs.resize_size  # but for the crop


def test_the_real_clip_is_openais_vit_l_14():
    network = NETWORKS["CLIP"]
    with torch.device("meta"):
        tower = network.build()
        assert tower(torch.empty(1, 3, 224, 224)).shape == (1, 768)
    assert sum(p.numel() for p in tower.parameters()) == 303_966_208
    assert any(type(m).__name__ == "QuickGELU" for m in tower.modules())


def test_absent_weights_are_named_with_the_place_and_the_way_to_get_them(tmp_path):
    for name, network in NETWORKS.items():
        file = replace(network.weights(), cached=tmp_path / "weights")
        with pytest.raises(WeightsError, match="not on this machine") as caught:
            load_network(replace(network, weights=lambda file=file: file))
        for part in (name, file.name, str(file.cached), "`make weights PROFILE=nsd` fetches them"):
            assert part in str(caught.value)
        assert str(tmp_path) not in file.problem()  # goes into tables that are passed on
        assert "://" not in str(caught.value)
    assert not list(tmp_path.iterdir())  # nothing was fetched


def test_damaged_and_wrong_weights_are_refused(tmp_path):
    network = write_weights("CLIP", randomly_initialised("CLIP"), tmp_path)
    file = network.weights()
    path = file.cached
    path.write_bytes(path.read_bytes()[:-100])
    refused(r"SHA-256 .* damaged", load_network, network, error=WeightsError)
    unchecked = replace(network, weights=lambda: replace(file, sha256_prefix=""))
    refused(r"the weights of CLIP: .* cannot be read", load_network, unchecked, error=WeightsError)
    # A file that lacks one tensor: it must not be filled up with random numbers.
    model = randomly_initialised("CLIP")
    state = model.state_dict()
    state.pop("visual.proj")
    save_file(state, path)
    refused(r"the weights of CLIP: .* cannot be read", load_network, unchecked, error=WeightsError)


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("was-executed"),))


@pytest.mark.parametrize("content", [Malicious(), [1, 2], {"conv1.weight": 3}])
def test_weights_that_are_not_tensors_are_refused_unexecuted(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = replace(NETWORKS["SwAV"].weights(), cached=tmp_path / "swav.pth.tar")
    torch.save(content, file.cached)
    with pytest.raises(WeightsError, match=r"the weights of SwAV: .* cannot be read"):
        load_network(replace(NETWORKS["SwAV"], weights=lambda: file))
    assert not Path("was-executed").exists()
