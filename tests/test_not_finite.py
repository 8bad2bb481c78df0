"""One NaN or one infinite number is refused at every border, and never comes out as a result."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fmri_utils import dino, encoders, explorer, metrics, perturbation, plots, visual_areas
from fmri_utils.clip import joint
from fmri_utils.dino import probes, views
from fmri_utils.encoders import ceilings, controls
from fmri_utils.lafite import DiscriminatorConfig, Generator, GeneratorConfig, TrainingConfig, train
from fmri_utils.lafite.training.data import TrainingData
from fmri_utils.pictures import finetuning, reconstruction, search
from fmri_utils.project.errors import DataError
from simulated_nsd.training import demo_generator as pretraining

N, V, C, Z = 12, 6, 4, 8
ALPHAS, ONE = np.ones(C), np.ones(())
SMALL = GeneratorConfig(
    z_dim=Z, w_dim=Z, condition_dim=C, hidden_dim=C, resolution=16, channel_base=64, channel_max=8,
    mapping_layers=1,
)  # fmt: skip
TRAINING = TrainingConfig(
    generator=SMALL,
    discriminator=DiscriminatorConfig(
        condition_dim=C, resolution=16, channel_base=64, channel_max=8
    ),
    batch_size=4, n_images=4, clip_size=8, itc=0.0, iic=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def k():
    """Sound arguments of everything below."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    betas, weights = rng.standard_normal((N, V)), rng.standard_normal((V, C))
    groups = np.repeat(np.arange(N // 2), 2)
    truth = encoders.unit(rng.standard_normal((N // 2, C)))[groups]
    settings = encoders.MLPSettings(hidden=8, n_blocks=1)
    network = Generator(SMALL).eval()
    with torch.no_grad():
        for layer in network.synthesis.convolutions():
            layer.noise_strength.fill_(0.1)
    z = torch.randn(N, Z)
    fit = {"alphas": ALPHAS, "n_folds": 2}
    rows = np.arange(N)
    return SimpleNamespace(
        betas=betas,
        truth=truth,
        groups=groups,
        rows=rows,
        fit=fit,
        rng=rng,
        encoder=encoders.LinearEncoder(weights, rng.standard_normal(C), "ridge"),
        mlp=encoders.MLPEncoder(encoders.mlp.ResidualMLP(V, C, settings), V),
        generator=network,
        z=z,
        condition=torch.from_numpy(truth).float(),
        draw=perturbation.picture_function(network, z[:1]),
        group=np.arange(V) < 2,
        precision=perturbation.fit_precision(betas),
        target=search.make_target(truth),
        objective=search.Objective(
            lambda images: nn.functional.normalize(images.mean((2, 3)) @ torch.ones(3, C) + 1)
        ),
        search={"n_steps": 1, "rng": torch.Generator()},
        images=rng.integers(0, 256, (N, 16, 16, 3), dtype=np.uint8),
        linear=nn.Linear(V, C),
        ridge=controls.fitter(encoders.fit_ridge, **fit),
        training=encoders.Training(1, 4, 1e-3, 0.0),
        joint=dict(
            name="infonce", n_steps=1, batch_size=4, dim=2, temperature=0.1, seed=0, n_checks=1
        ),
    )


def with_one(value, array):
    """A copy with one such value in the middle."""
    out = array.clone() if torch.is_tensor(array) else np.array(array, float)
    out[tuple(n // 2 for n in out.shape)] = value
    return out


def voxel_data(bad=None, **changes):
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(6), 2)
    draw = lambda n: rng.standard_normal((N, n))  # noqa: E731
    data = dict(betas=draw(V), targets=draw(C), test_betas=draw(V), test_targets=draw(C))
    data |= {name: bad(data[name]) for name in changes}
    return dino.VoxelData(**data, nsd_id=ids, test_nsd_id=ids + 90, regions=np.zeros(V, int))


def area(k):
    return {"V1": k.group, "V2": ~k.group}


# Name to a call with one bad array, made by ``bad``, and what the message begins with.
BETAS = {
    "LinearEncoder.predict": lambda k, bad: k.encoder.predict(bad(k.betas)),
    "MLPEncoder.predict": lambda k, bad: k.mlp.predict(bad(k.betas)),
    "MLPEncoder.predict_direct": lambda k, bad: k.mlp.predict_direct(bad(k.betas)),
    "ridge_basis": lambda k, bad: encoders.ridge_basis(bad(k.betas)),
    "fit_mean": lambda k, bad: encoders.fit_mean(bad(k.betas), k.truth, k.groups),
    "fit_ridge": lambda k, bad: encoders.fit_ridge(bad(k.betas), k.truth, k.groups, **k.fit),
    "refit_ridge": lambda k, bad: encoders.refit_ridge(bad(k.betas), k.truth, alphas=ALPHAS),
    "out_of_fold": lambda k, bad: encoders.out_of_fold(bad(k.betas), k.truth, k.groups, **k.fit),
    "fit_mlp": lambda k, bad: encoders.fit_mlp(
        bad(k.betas), k.truth, k.groups, training=k.training, seed=0
    ),
    "embedding_effect": lambda k, bad: perturbation.embedding_effect(k.encoder, bad(k.betas)),
    "signed_shift": lambda k, bad: perturbation.signed_shift(k.encoder, bad(k.betas), k.truth),
    "contribution": lambda k, bad: perturbation.contribution(k.encoder, bad(k.betas), k.truth),
    "encoding_pattern": lambda k, bad: perturbation.encoding_pattern(bad(k.betas), k.truth),
    "condition_jacobian": lambda k, bad: perturbation.condition_jacobian(
        k.encoder, bad(k.betas[0])
    ),
    "eps_curve": lambda k, bad: perturbation.eps_curve(
        k.draw, k.encoder, bad(k.betas[0]), [0], [0.1], like=k.z
    ),
    "concept_shift": lambda k, bad: perturbation.concept_shift(k.encoder, bad(k.betas), k.truth),
    "area_shifts": lambda k, bad: perturbation.area_shifts(
        k.encoder, bad(k.betas), area(k), k.truth
    ),
    "group_embedding": lambda k, bad: visual_areas.group_embedding(
        k.encoder, bad(k.betas), k.group, "keep_only"
    ),
    "against_random": lambda k, bad: visual_areas.against_random(
        k.encoder, bad(k.betas), k.truth, k.group, kind="keep_only", rng=k.rng, n_groups=2
    ),
    "shapley_exact": lambda k, bad: visual_areas.shapley_exact(
        k.encoder, bad(k.betas), k.truth, area(k)
    ),
    "score_areas": lambda k, bad: visual_areas.score_areas(
        k.encoder, bad(k.betas), k.truth, area(k), n_random=2, rng=k.rng
    ),
    "random_shift": lambda k, bad: visual_areas.random_shift(
        k.encoder, bad(k.betas), [2], k.truth, n_random=2, rng=k.rng
    ),
    "area_pictures": lambda k, bad: visual_areas.area_pictures(
        perturbation.renderer(k.generator, psi=1.0, seed=0), k.encoder, bad(k.betas), area(k),
        z=k.z[:1],
    ),
    "picture_effect": lambda k, bad: perturbation.picture_effect(
        perturbation.renderer(k.generator, psi=1.0, seed=0), k.encoder, bad(k.betas[0]),
        np.array([0]), z=k.z[:1], other_z=k.z[1:2],
    ),
    "voxel_against_noise": lambda k, bad: perturbation.voxel_against_noise(
        perturbation.renderer(k.generator, psi=1.0, seed=0), k.encoder, bad(k.betas),
        np.zeros(N, int), z=k.z[:1], other_z=k.z[1:2],
    ),
    "crossed_pictures": lambda k, bad: perturbation.crossed_pictures(
        k.generator, k.encoder, bad(k.betas[0]), 0, [0.0, 1.0], z=k.z[:2], n_noise=2, seed=0
    ),
    "reliability": lambda k, bad: perturbation.reliability(
        k.encoder, bad(k.betas.reshape(2, 6, V)), np.tile(np.arange(6), (3, 2, 1))
    ),
    "refit_change": lambda k, bad: perturbation.refit_change(
        k.encoder, k.precision, bad(k.betas), ALPHAS
    ),
    "cross_fit": lambda k, bad: next(
        perturbation.cross_fit(bad(k.betas), k.truth, k.groups, ALPHAS, n_folds=2)
    ),
    "fit_precision": lambda k, bad: perturbation.fit_precision(bad(k.betas)),
    "shrinkage_penalty": lambda k, bad: perturbation.shrinkage_penalty(bad(k.betas)),
    "conditional_mean": lambda k, bad: perturbation.conditional_mean(
        k.precision, bad(k.betas), 1.0
    ),
    "retrain_on": lambda k, bad: visual_areas.retrain_on(
        bad(k.betas), k.truth, k.groups, np.ones(V, bool),
        settings=encoders.MapperSettings(n_folds=2),
    ),
    "fit_prototypes": lambda k, bad: controls.fit_prototypes(
        bad(k.betas), k.truth, k.groups, n_classes=2, seed=0, **k.fit
    ),
    "leave_clusters_out": lambda k, bad: controls.leave_clusters_out(
        k.ridge, k.betas, k.truth, k.groups, bad(k.betas), k.truth,
        k.rows + 90, n_clusters=2, seed=0,
    ),
    "predict_held_out": lambda k, bad: finetuning.predict_held_out(
        bad(k.betas), k.truth, k.groups, **k.fit
    ),
    "fit_low_level": lambda k, bad: search.low_level.fit_low_level(
        bad(k.betas), k.images[:, :2, :2] / 255, k.groups, **k.fit
    ),
    "RepeatSampler": lambda k, bad: views.RepeatSampler(
        bad(k.betas), k.groups, np.zeros(V, int), [90]
    ),
    "VoxelData": lambda k, bad: voxel_data(bad, betas=1),
}  # fmt: skip
OTHERS = {
    "draw, condition": (
        "condition: ", lambda k, bad: reconstruction.draw(k.generator, k.z, bad(k.truth))
    ),
    "draw, z": ("z: ", lambda k, bad: reconstruction.draw(k.generator, bad(k.z), k.truth)),
    "make_target": ("embeddings: ", lambda k, bad: search.make_target(bad(k.truth))),
    "best_of_n": (
        "condition: ",
        lambda k, bad: search.best_of_n(
            k.generator, bad(k.truth), k.target, k.objective, n=1, rng=torch.Generator()
        ),
    ),
    "optimise_z": (
        "z: ",
        lambda k, bad: search.optimise_z(
            k.generator, k.truth, k.target, k.objective, z=bad(k.z), **k.search
        ),
    ),
    "optimise_noise": (
        "z: ",
        lambda k, bad: search.optimise_noise(
            k.generator, k.truth, k.target, k.objective, z=bad(k.z), **k.search
        ),
    ),
    "draw, psi": (
        "truncation_psi: ",
        lambda k, bad: reconstruction.draw(k.generator, k.z, k.truth, truncation_psi=bad(ONE)),
    ),
    "best_of_n, psi": (
        "truncation_psi: ",
        lambda k, bad: search.best_of_n(
            k.generator, k.truth, k.target, k.objective, n=1, rng=torch.Generator(),
            truncation_psi=bad(ONE),
        ),
    ),
    "picture_function, psi": (
        "psi: ", lambda k, bad: perturbation.picture_function(k.generator, k.z[:1], psi=bad(ONE))
    ),
    "group_embedding, k": (
        "k: ",
        lambda k, bad: visual_areas.group_embedding(
            k.encoder, k.betas, k.group, "stimulate", bad(ONE)
        ),
    ),
    "area_shifts, k": (
        "k: ",
        lambda k, bad: perturbation.area_shifts(k.encoder, k.betas, area(k), k.truth, k=bad(ONE)),
    ),
    "random_shift, k": (
        "k: ",
        lambda k, bad: visual_areas.random_shift(
            k.encoder, k.betas, [2], k.truth, n_random=1, rng=k.rng, k=bad(ONE)
        ),
    ),
    "bootstrap": ("scores: ", lambda k, bad: metrics.bootstrap(bad(k.betas[0]), rng=k.rng)),
    "picture_function, z": (
        "z: ", lambda k, bad: perturbation.picture_function(k.generator, bad(k.z[:1]))
    ),
    "picture_function, noise": (
        "noise images: ",
        lambda k, bad: perturbation.picture_function(
            k.generator, k.z[:1], noise=[bad(torch.zeros(1, 1, 4, 4))]
        ),
    ),
    "picture_jacobian": (
        "condition: ", lambda k, bad: perturbation.picture_jacobian(k.draw, bad(k.condition[0]))
    ),
    "picture_derivative": (
        "directions: ",
        lambda k, bad: perturbation.picture_derivative(k.draw, k.condition[0], bad(k.condition)),
    ),
    "picture_sketch": (
        "condition: ",
        lambda k, bad: perturbation.picture_sketch(
            k.draw, bad(k.condition[0]), n_probes=1, rng=torch.Generator()
        ),
    ),
    "image_effects": (
        "z: ",
        lambda k, bad: perturbation.image_effects(
            k.generator, k.encoder, k.betas, bad(k.z), folder=None, key={}
        ),
    ),
    "network_effect": (
        "beta: ", lambda k, bad: perturbation.network_effect(k.linear, nn.Tanh(), bad(k.betas[0]))
    ),
    "network_condition_jacobian": (
        "beta: ",
        lambda k, bad: perturbation.network_condition_jacobian(k.linear, bad(k.betas[0]), like=k.z),
    ),
    "replacement": (
        "replacement: ",
        lambda k, bad: perturbation.embedding_effect(
            k.encoder, k.betas, replacement=bad(k.betas[0])
        ),
    ),
    "stimulated": (
        "replacement: ",
        lambda k, bad: perturbation.embedding_effect(
            k.encoder, k.betas, replacement=perturbation.stimulate(k.betas, 1, bad(np.ones(V)))
        ),
    ),
    "signed_shift": (
        "directions: ",
        lambda k, bad: perturbation.signed_shift(k.encoder, k.betas, bad(k.truth)),
    ),
    "concept_shift": (
        "directions: ",
        lambda k, bad: perturbation.concept_shift(k.encoder, k.betas, bad(k.truth)),
    ),
    "concept_directions": (
        "embeddings: ",
        lambda k, bad: perturbation.concept_directions(
            {"a": ["cat"]}, ["a cat", "a dog"] * 6, bad(k.truth)
        ),
    ),
    "contribution": (
        "truth: ", lambda k, bad: perturbation.contribution(k.encoder, k.betas, bad(k.truth))
    ),
    "shapley": (
        "truth: ",
        lambda k, bad: visual_areas.shapley(k.encoder, k.betas, bad(k.truth), area(k), rng=k.rng),
    ),
    "score_areas": (
        "truth: ",
        lambda k, bad: visual_areas.score_areas(
            k.encoder, k.betas, bad(k.truth), area(k), n_random=1, rng=k.rng
        ),
    ),
    "max_t": ("null: ", lambda k, bad: perturbation.max_t(bad(k.betas))),
    "matched_rank": (
        "effects: ",
        lambda k, bad: perturbation.matched_rank(bad(k.betas[0]), k.betas[1], n_matched=2),
    ),
    "split_half": ("values: ", lambda k, bad: perturbation.split_half(bad(k.betas), rng=k.rng)),
    "between_maps": ("maps: ", lambda k, bad: perturbation.between_maps(bad(k.betas))),
    "auroc": (
        "effect: ",
        lambda k, bad: perturbation.auroc(k.group, {"effect": bad(k.betas[0])}, rng=k.rng),
    ),
    "centroid_and_spread": (
        "maps: ", lambda k, bad: perturbation.centroid_and_spread(bad(np.ones((3, 4))), 8.0)
    ),
    "relative_maps": ("maps: ", lambda k, bad: perturbation.relative_maps(bad(np.ones((3, 4))))),
    "variance_shares": (
        "pictures: ", lambda k, bad: perturbation.variance_shares(bad(np.ones((2, 2, 2, 3))))
    ),
    "fit_ridge, embeddings": (
        "embeddings: ",
        lambda k, bad: encoders.fit_ridge(k.betas, bad(k.truth), k.groups, **k.fit),
    ),
    "fit_ridge, alphas": (
        "alphas: ",
        lambda k, bad: encoders.fit_ridge(
            k.betas, k.truth, k.groups, alphas=bad(ALPHAS), n_folds=2
        ),
    ),
    "refit_ridge, alphas": (
        "alphas: ", lambda k, bad: encoders.refit_ridge(k.betas, k.truth, alphas=bad(ALPHAS))
    ),
    "restandardise": (
        "predictions: ", lambda k, bad: encoders.restandardise(bad(k.truth), k.truth, k.truth)
    ),
    "bottleneck": (
        "training predictions: ", lambda k, bad: controls.bottleneck(k.truth, bad(k.truth), [1])
    ),
    "leave_clusters_out, truth": (
        "truth: ",
        lambda k, bad: controls.leave_clusters_out(
            k.ridge, k.betas, k.truth, k.groups, k.betas, bad(k.truth),
            k.rows + 90, n_clusters=2, seed=0,
        ),
    ),
    "explained_variance": (
        "r: ", lambda k, bad: ceilings.explained_variance(k.truth, bad(np.ones(C)))
    ),
    "train_joint": (
        "brain: ",
        lambda k, bad: joint.train_joint(
            bad(k.betas), k.truth, k.betas, k.truth, **k.joint
        ),
    ),
    "train_joint, held out": (
        "held_image: ",
        lambda k, bad: joint.train_joint(
            k.betas, k.truth, k.betas, bad(k.truth), **k.joint
        ),
    ),
    "knn_hits": (
        "train features: ",
        lambda k, bad: dino.knn_hits(bad(k.betas), k.groups, k.betas, k.groups, n_neighbours=2),
    ),
    "cluster_labels": (
        "embeddings: ",
        lambda k, bad: probes.cluster_labels(bad(k.truth), 2, seed=0),
    ),
    "probe": (
        "training features: ",
        lambda k, bad: probes.probe(bad(k.betas), k.truth, k.groups, k.betas, k.truth, **k.fit),
    ),
    "features_of": ("patterns: ", lambda k, bad: dino.features_of(k.linear, bad(k.betas))),
    "VoxelData, test": ("test_betas: ", lambda k, bad: voxel_data(bad, test_betas=1)),
    "VoxelData, targets": ("test_targets: ", lambda k, bad: voxel_data(bad, test_targets=1)),
    "two_way": ("truth: ", lambda k, bad: metrics.two_way_scores(bad(k.truth), k.truth)),
    "retrieval": (
        "reconstruction: ", lambda k, bad: metrics.retrieval_scores(k.truth, bad(k.truth))
    ),
    "frechet_distance": (
        "reconstruction: ", lambda k, bad: metrics.frechet_distance(k.truth, bad(k.truth))
    ),
    "effective_rank": ("embeddings: ", lambda k, bad: metrics.effective_rank(bad(k.truth))),
    "TrainingData": (
        "embeddings: ", lambda k, bad: TrainingData(TRAINING, k.images, bad(k.truth))
    ),
    "train, grid_conditions": (
        "grid_conditions: ",
        lambda k, bad: train(TRAINING, k.images, k.truth, grid_conditions=bad(k.truth)),
    ),
    "pretrain.generator": (
        "noise: ",
        lambda k, bad: pretraining.train(k.images, k.truth, bad(k.truth), None, None),
    ),
    "plot_picture": ("picture: ", lambda k, bad: plots.plot_picture(bad(k.images[0] / 255))),
}  # fmt: skip


NEED_MORE = {"image_effects", "pretrain.generator", "train, grid_conditions"}  # own tests run them
SPREAD = {"stimulated": N}  # one bad factor, a bad value for every trial


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [*BETAS, *OTHERS])
def test_one_value_that_is_not_finite_is_refused(k, name, value):
    start, call = ("betas: ", BETAS[name]) if name in BETAS else OTHERS[name]
    with pytest.raises(DataError) as caught:
        call(k, lambda array: with_one(value, array))
    n, kind = SPREAD.get(name, 1), "NaN" if np.isnan(value) else "infinite"
    said = str(caught.value)
    if name == "plot_picture":
        assert re.match(r"picture: float64 values from .*(nan|inf)", said)
    else:
        assert re.match(rf"{start}{n} of \d+ values (is|are) {kind}[,.]", said)
        assert "Expected: finite numbers." in said


@pytest.mark.parametrize("name", sorted({*BETAS, *OTHERS} - NEED_MORE))
def test_the_same_calls_take_sound_numbers(k, name):
    call = BETAS[name] if name in BETAS else OTHERS[name][1]
    call(k, lambda array: array)


def test_the_explorer_takes_only_sound_material(material):
    for part, field in (("encoder", "weights"), ("library", "embeddings"), ("concepts", "sd")):
        own = getattr(material, part)
        holed = dataclasses.replace(own, **{field: with_one(np.nan, getattr(own, field))})
        with pytest.raises(DataError, match=r"1 of \d+ values is NaN"):
            dataclasses.replace(material, **{part: holed})
    with pytest.raises(DataError, match=r"^pattern: 1 of 12 values is infinite, first at index"):
        dataclasses.replace(material, pattern=with_one(np.inf, material.pattern))
    with pytest.raises(DataError, match=r"^seen: .* Expected: uint8"):
        dataclasses.replace(material, seen=material.seen / 255)


@pytest.fixture
def material(k):
    pattern = k.betas[:2]
    return explorer.Material(
        encoder=k.encoder,
        generator=k.generator,
        pattern=pattern,
        seen=k.images[:2],
        captions=["a", "b"],
        library=explorer.Library(["c"] * N, k.truth, np.zeros(C)),
        concepts=explorer.Concepts(("x",), k.truth[:1], np.ones(1)),
        areas={"V1": k.group},
        mask=np.ones((1, 2, 3), bool),
        background=np.ones((1, 2, 3)),
        new_noise_rms=0.1,
        psi=1.0,
        seed=0,
        label="simulated",
    )
