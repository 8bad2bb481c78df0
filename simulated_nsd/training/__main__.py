"""Command line of ``make pretrain``: scenes, CLIP, judge, generator, model cards.

Stages whose result is there are skipped; delete a file in ``data/pretrained`` to train it again.
Hours on two cores; every stage resumes where it was stopped.
"""

import numpy as np
import torch

from fmri_utils.clip.space import ClipSpace, open_clip_space
from fmri_utils.lafite import TrainingData, save_generator
from fmri_utils.metrics.judge import Judge, load_judge
from fmri_utils.pictures.reconstruction import draw, draw_z
from fmri_utils.project.command import command
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import PROJECT_ROOT
from fmri_utils.project.tensors import write_safetensors

from .. import scenes
from . import demo_clip, demo_dino, demo_generator, demo_judge, noise_vectors, report
from .drawn_data import HELD_OUT, PRETRAINING, drawn_scenes

SHIPPED = PROJECT_ROOT / "data" / "pretrained"
WORK = PROJECT_ROOT / "data" / "pretraining"
N_CLIP, N_JUDGE, N_GENERATOR, N_BANK, N_HELD_OUT = 50_000, 20_000, 100_000, 10_000, 1_000
CLIP_SEED, JUDGE_SEED, GENERATOR_SEED = 0, 1, 2


def train_clip(held_out: dict[str, np.ndarray]) -> ClipSpace:
    """The demo CLIP, trained if it is not there."""
    folder = SHIPPED / "clip"
    if not (folder / "open_clip_config.json").is_file():
        data = drawn_scenes(WORK, stream=PRETRAINING, seed=CLIP_SEED, n=N_CLIP, size=64)
        network = demo_clip.train(data, WORK / "clip.pt", n_epochs=5, seed=CLIP_SEED)
        demo_clip.save_bundle(network, folder)
        (folder / "card.json").unlink(missing_ok=True)
    space = open_clip_space(f"local-dir:{folder}")
    if not (folder / "card.json").is_file():
        report.write_card(
            folder / "card.json",
            what="CLIP for the simulated scenes: 64 px, 128 dimensions, open_clip local-dir bundle",
            training=f"{N_CLIP} scenes (stream {PRETRAINING}, seed {CLIP_SEED}), 5 epochs of 256",
            scores=report.clip_report(space, held_out),
            held_out=f"{N_HELD_OUT} scenes of stream {HELD_OUT}, seed 0",
        )
    return space


def train_judge(held_out: dict[str, np.ndarray]) -> Judge:
    """The judge, trained if it is not there."""
    path = SHIPPED / "judge.safetensors"
    if not path.is_file():
        data = drawn_scenes(WORK, stream=PRETRAINING, seed=JUDGE_SEED, n=N_JUDGE, size=64)
        demo_judge.save_judge(demo_judge.train(data, n_epochs=5, seed=JUDGE_SEED), path)
        path.with_name("judge-card.json").unlink(missing_ok=True)
    judged = load_judge(path)
    if not path.with_name("judge-card.json").is_file():
        report.write_card(
            path.with_name("judge-card.json"),
            what="independent judge: convolutional classifier of thing, background and colour",
            training=f"{N_JUDGE} scenes (stream {PRETRAINING}, seed {JUDGE_SEED}), 5 epochs",
            scores=report.judge_report(judged, held_out),
            held_out=f"{N_HELD_OUT} scenes of stream {HELD_OUT}, seed 0",
        )
    return judged


def make_bank(space: ClipSpace) -> None:
    """Embeddings of scenes that no subject sees, for the prior, if the file is not there."""
    path = SHIPPED / "bank.safetensors"
    if not path.is_file():
        data = drawn_scenes(WORK, stream=PRETRAINING, seed=GENERATOR_SEED, n=N_BANK, size=64)
        embeddings = torch.from_numpy(space.encode_images(data["images"], progress=True))
        write_safetensors(path, {"bank": embeddings.half()})


def train_generator(space: ClipSpace, judged: Judge, held_out: dict[str, np.ndarray]) -> None:
    """LAFITE's generator with its card, trained to redraw scenes if it is not there."""
    path = SHIPPED / "lafite.safetensors"
    if path.is_file():
        return
    # Scenes that CLIP has not learned from, as it has not from those that a subject sees.
    data = drawn_scenes(WORK, stream=PRETRAINING, seed=GENERATOR_SEED, n=N_GENERATOR, size=64)
    images, embeddings = data["images"], space.encode_images(data["images"], progress=True)
    facts = noise_vectors.SceneFacts.of(
        scenes.sample_scenes(PRETRAINING, GENERATOR_SEED, N_GENERATOR)
    )
    predictor = noise_vectors.fit_predictor(embeddings, facts)
    noise = noise_vectors.noise_of(predictor, embeddings, facts, demo_generator.GENERATOR.z_dim)
    data = TrainingData(images, embeddings, noise_vectors=noise)
    network = demo_generator.train_to_draw(data, space, WORK / "generator").generator
    condition = space.encode_images(held_out["images"])
    drawn = draw(network, draw_z(network, len(condition), 0), condition)
    training = demo_generator.TRAINING
    others = drawn_scenes(WORK, stream=HELD_OUT, seed=1, n=N_HELD_OUT, size=64)["images"]
    card = {
        "what": "LAFITE generator for the simulated scenes, conditioned on the demo CLIP",
        "training": f"{training.warmup_images} images of redrawing alone, then up to "
        f"{training.n_images} against a discriminator as well; scenes are redrawn from their "
        "embeddings under noise vectors that stand for what an embedding leaves open of a scene's "
        "description (place and size of the main thing, its direction, companions, weather); the "
        "redrawing compares pixels, outlines and early feature maps of CLIP; the judge has no part",
        "data": f"{N_GENERATOR} scenes (stream {PRETRAINING}, seed {GENERATOR_SEED})",
        "ceiling_on_held_out_scenes": report.ceiling_report(judged, drawn, held_out, others),
        "licence": report.LICENCE,
    }
    save_generator(path, network, card)
    report.write_card(path.with_name("lafite-card.json"), **card)


@command
def main(arguments: list[str]) -> None:
    """Run all stages."""
    if arguments:
        raise ProfileError(f"`make pretrain` takes no settings; got {arguments}.")
    held_out = drawn_scenes(WORK, stream=HELD_OUT, seed=0, n=N_HELD_OUT, size=64)
    space = train_clip(held_out)
    judged = train_judge(held_out)
    make_bank(space)
    train_generator(space, judged, held_out)
    demo_dino.run()


if __name__ == "__main__":
    raise SystemExit(main())
