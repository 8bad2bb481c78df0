"""One NaN or one infinite number is refused at every border, and never comes out as a result."""

import re

import numpy as np
import pytest
import torch
from small_lafite import DISCRIMINATOR, GENERATOR, noisy_generator
from torch import nn

from fmri_utils import dino, encoders, metrics, perturbation, plots, visual_areas
from fmri_utils.clip import joint
from fmri_utils.dino import probes, views
from fmri_utils.encoders import ceilings, controls
from fmri_utils.lafite import Observers, TrainingConfig, TrainingData, train
from fmri_utils.lafite.training.data import Batches
from fmri_utils.pictures import reconstruction, search
from fmri_utils.project.errors import DataError
from simulated_nsd import against_truth

N, V, C, Z = 12, 6, GENERATOR.condition_dim, GENERATOR.z_dim
ALPHAS, ONE = np.ones(C), np.ones(())
SIZES = {"generator": GENERATOR, "discriminator": DISCRIMINATOR, "batch_size": 4, "n_images": 4}
TRAINING = TrainingConfig(**SIZES, clip_size=8, itc=0.0, iic=0.0)


def voxel_data(**changes):
    """Data for the self-supervised training on voxels; the arrays that are named are replaced."""
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(N // 2), 2)
    sizes = {"betas": V, "targets": C, "test_betas": V, "test_targets": C}
    data = {name: rng.standard_normal((N, n)) for name, n in sizes.items()} | changes
    return dino.VoxelData(**data, nsd_id=ids, test_nsd_id=ids + 90, regions=np.zeros(V, int))


def auroc(effect):
    return against_truth.auroc(GROUP, {"effect": effect}, rng=RNG)


def images_from(z):
    return perturbation.image_effects(NETWORK, ENCODER, BETAS, z, folder=None, key={})


def batches(images, embeddings, **more):
    return Batches(TRAINING, TrainingData(images, embeddings, **more))


def grid(conditions):
    data, observers = TrainingData(IMAGES, TRUTH), Observers(grid_conditions=conditions)
    return train(TRAINING, data, observers=observers)


# Sound arguments of everything below.
RNG = np.random.default_rng(0)
torch.manual_seed(0)
BETAS, WEIGHTS = RNG.standard_normal((N, V)), RNG.standard_normal((V, C))
GROUPS, ROWS = np.repeat(np.arange(N // 2), 2), np.arange(N)
TRUTH = encoders.unit(RNG.standard_normal((N // 2, C)))[GROUPS]
ENCODER = encoders.LinearEncoder(WEIGHTS, RNG.standard_normal(C), "ridge")
MLP = encoders.mlp.MLPEncoder(encoders.mlp.ResidualMLP(V, C, 8), V)
NETWORK = noisy_generator(GENERATOR)
LATENT, CONDITION = torch.randn(N, Z), torch.from_numpy(TRUTH).float()
FIT = {"alphas": ALPHAS, "n_folds": 2}
ONE_STEP = encoders.gradient_fit.Training(
    n_steps=1, batch_size=4, learning_rate=1e-3, weight_decay=0.0
)
RIDGE = controls.fitter(encoders.fit_ridge, **FIT)
GROUP = np.arange(V) < 2
AREAS = {"V1": GROUP, "V2": ~GROUP}
PRECISION = perturbation.fit_precision(BETAS)
TARGET = search.make_target(TRUTH)
OBJECTIVE = search.Objective(
    lambda images: nn.functional.normalize(images.mean((2, 3)) @ torch.ones(3, C) + 1)
)
SEARCH = {"n_steps": 1, "rng": torch.Generator()}
BEST = {"n": 1, "rng": torch.Generator()}
IMAGES = RNG.integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)
LINEAR = nn.Linear(V, C)
JOINT = dict(name="infonce", n_steps=1, batch_size=4, dim=2, temperature=0.1, seed=0, n_checks=1)
LEFT_OUT = {"n_clusters": 2, "seed": 0}
RANDOM = {"controls": {}, "n_random": 2, "rng": RNG}


def with_one(value, array):
    """A copy with one such value in the middle."""
    out = array.clone() if torch.is_tensor(array) else np.array(array, float)
    out[tuple(n // 2 for n in out.shape)] = value
    return out


class Bad:
    """The argument of a case that gets one bad value."""

    def __init__(self, array):
        self.array = array


CASES = {}


def case(start, function, *arguments, **named):
    """A call, one of whose arguments is Bad, and what the message calls that argument."""
    name = f"{function.__qualname__}, {start}"
    assert name not in CASES
    CASES[name] = start, function, arguments, named


def call(name, change):
    _, function, arguments, named = CASES[name]
    mend = lambda value: change(value.array) if isinstance(value, Bad) else value  # noqa: E731
    return function(*map(mend, arguments), **{key: mend(value) for key, value in named.items()})


# One of each check: where one function asks for another, the latter's check is in the list.
B, T, Z_BAD = Bad(BETAS), Bad(TRUTH), Bad(LATENT)
case("betas", ENCODER.predict, B)
case("betas", MLP.predict, B)
case("betas", encoders.ridge_basis, B)
case("betas", encoders.fit_mean, B, TRUTH, GROUPS)
case("betas", encoders.fit_ridge, B, TRUTH, GROUPS, **FIT)
case("embeddings", encoders.fit_ridge, BETAS, T, GROUPS, **FIT)
case("alphas", encoders.fit_ridge, BETAS, TRUTH, GROUPS, alphas=Bad(ALPHAS), n_folds=2)
case("betas", encoders.refit_ridge, B, TRUTH, alphas=ALPHAS)
case("alphas", encoders.refit_ridge, BETAS, TRUTH, alphas=Bad(ALPHAS))
case("betas", encoders.ridge.out_of_fold, B, TRUTH, GROUPS, **FIT)
MLP_SETTINGS = {"hidden": 8, "mixco_temperature": 0.1, "soft_temperature": 0.1, "seed": 0}
case("betas", encoders.mlp.fit_mlp, B, TRUTH, GROUPS, training=ONE_STEP, **MLP_SETTINGS)
case("training predictions", controls.bottleneck, TRUTH, T, [1])
case("betas", controls.fit_prototypes, B, TRUTH, GROUPS, n_classes=2, seed=0, **FIT)
LEAVE = controls.leave_clusters_out, RIDGE, BETAS, TRUTH, GROUPS
case("betas", *LEAVE, B, TRUTH, ROWS + 90, **LEFT_OUT)
case("truth", *LEAVE, BETAS, T, ROWS + 90, **LEFT_OUT)
case("r", ceilings.explained_variance, TRUTH, Bad(np.ones(C)))
case("brain", joint.train_joint, B, TRUTH, BETAS, TRUTH, **JOINT)

case("betas", perturbation.embedding_effect, ENCODER, B)
case("replacement", perturbation.embedding_effect, ENCODER, BETAS, replacement=Bad(BETAS[0]))
case("truth", perturbation.contribution, ENCODER, BETAS, T)
case("betas", perturbation.forward_model, B, TRUTH, np.arange(N))
case("betas", perturbation.haufe_pattern, B, TRUTH)
case("directions", perturbation.concept_shift, ENCODER, BETAS, T)
case("embeddings", perturbation.concept_directions, {"a": ["cat"]}, ["a cat", "a dog"] * 6, T)
ORDERS = np.tile(np.arange(6), (3, 2, 1))
case("betas", perturbation.reliability, ENCODER, Bad(BETAS.reshape(2, 6, V)), ORDERS)
case("betas", perturbation.fit_precision, B)
case("betas", perturbation.prediction_penalty, B, np.arange(N), alphas=[1.0])
case("betas", perturbation.conditional_mean, PRECISION, B, 1.0)
case("z", perturbation.picture_function, NETWORK, Bad(LATENT[:1]))
case("z", images_from, Z_BAD)
case("null", perturbation.max_t, B)
case("effects", perturbation.matched_rank, Bad(BETAS[0]), BETAS[1], n_matched=2)
case("values", perturbation.split_half, B, rng=RNG)
case("maps", perturbation.between_maps, B)
case("effect", auroc, Bad(BETAS[0]))
case("maps", perturbation.centroid_and_spread, Bad(np.ones((3, 4))), 8.0)
case("maps", perturbation.relative_maps, Bad(np.ones((3, 4))))
case("pictures", perturbation.variance_shares, Bad(np.ones((2, 2, 2, 3))))

case("truth", visual_areas.shapley_by_trial, ENCODER, BETAS, T, AREAS)
case("truth", visual_areas.score_areas, ENCODER, BETAS, T, AREAS, **RANDOM)

case("condition", reconstruction.draw, NETWORK, LATENT, T)
case("z", reconstruction.draw, NETWORK, Z_BAD, TRUTH)
case("truncation_psi", reconstruction.draw, NETWORK, LATENT, TRUTH, truncation_psi=Bad(ONE))
case("embeddings", search.make_target, T)
case("condition", search.best_of_n, NETWORK, T, TARGET, OBJECTIVE, **BEST)
case(
    "truncation_psi", search.best_of_n, NETWORK, TRUTH, TARGET, OBJECTIVE,
    truncation_psi=Bad(ONE), **BEST,
)  # fmt: skip
case("z", search.optimise_z, NETWORK, TRUTH, TARGET, OBJECTIVE, z=Z_BAD, **SEARCH)
case("z", search.optimise_noise, NETWORK, TRUTH, TARGET, OBJECTIVE, z=Z_BAD, **SEARCH)

case("betas", views.RepeatSampler, B, GROUPS, np.zeros(V, int), [90])
case("betas", voxel_data, betas=B)
case("test_targets", voxel_data, test_targets=Bad(np.ones((N, C))))
case("train features", dino.knn_hits, B, GROUPS, BETAS, GROUPS, n_neighbours=2)
case("embeddings", probes.cluster_labels, T, 2, seed=0)
case("training features", probes.probe, B, TRUTH, GROUPS, BETAS, TRUTH, **FIT)
case("patterns", dino.features_of, LINEAR, B)

case("scores", metrics.bootstrap, Bad(BETAS[0]), rng=RNG)
case("truth", metrics.two_way_scores, T, TRUTH)
case("reconstruction", metrics.retrieval_scores, TRUTH, T)
case("reconstruction", metrics.frechet_distance, TRUTH, T)
case("embeddings", metrics.effective_rank, T)
case("embeddings", batches, IMAGES, T)
case("noise_vectors", batches, IMAGES, TRUTH, noise_vectors=Bad(np.ones((N, Z))))
case("grid_conditions", grid, T)
case("picture", plots.plot_picture, Bad(IMAGES[0] / 255))

NEED_MORE = {"images_from, z", "grid, grid_conditions"}  # own tests run them


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CASES)
def test_one_value_that_is_not_finite_is_refused(name, value):
    with pytest.raises(DataError) as caught:
        call(name, lambda array: with_one(value, array))
    kind = "NaN" if np.isnan(value) else "infinite"
    said = str(caught.value)
    if name.startswith("plot_picture"):
        assert re.match(r"picture: float64 values from .*(nan|inf)", said)
    else:
        assert re.match(rf"{CASES[name][0]}: 1 of \d+ values (is|are) {kind}[,.]", said)
        assert "Expected: finite numbers." in said


@pytest.mark.parametrize("name", sorted(CASES.keys() - NEED_MORE))
def test_the_same_calls_take_sound_numbers(name):
    call(name, lambda array: array)
