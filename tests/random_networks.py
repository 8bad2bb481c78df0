"""The networks that score pictures, with random weights in files as their publishers write them."""

from dataclasses import replace

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch.nn import functional
from torchvision import models

from fmri_utils.metrics.feature_networks import NETWORKS
from fmri_utils.project.artifacts import sha256_file

TINY_CLIP = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 56},
    "text_cfg": {"context_length": 8, "vocab_size": 20, "width": 32, "heads": 2, "layers": 1},
}


def pictures(rng, n):
    """Larger than 256 px, so that antialiasing would be seen; blobs, so that features differ."""
    blobs, noise = rng.random((n, 3, 6, 6)), rng.random((n, 300, 300, 3), np.float32)
    blobs = functional.interpolate(torch.from_numpy(blobs).float(), (300, 300), mode="bilinear")
    return 0.7 * blobs.permute(0, 2, 3, 1).numpy() + np.float32(0.3) * noise


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BY_HAND = {  # side in pixels, colours, modules
    "AlexNet": (256, IMAGENET, {"Alex(2)": "features.4", "Alex(5)": "features.11"}),
    "InceptionV3": (342, IMAGENET, {"Incep": "avgpool"}),
    "CLIP": (224, (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD), {"CLIP": None}),
    "EfficientNet-B1": (255, IMAGENET, {"EffNet-B": "avgpool"}),
    "SwAV": (224, IMAGENET, {"SwAV": "avgpool"}),
}


def prepared_by_hand(name, images):
    """Resized and normalised as the network wants it: nothing of the package."""
    side, (mean, std), _ = BY_HAND[name]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    for size in (256, side):
        x = functional.interpolate(x, (size, size), mode="bilinear", align_corners=False)
    x = (x - mean) / std
    if name == "InceptionV3":  # its weights expect -1 to 1, made of ImageNet's normalisation
        x = (x * std + mean - 0.5) / 0.5
    return x


def alexnet_without_classifier():
    with torch.device("meta"):  # its 54 million weights would take most of this file's time
        model = models.alexnet(weights=None)
    model.features.to_empty(device="cpu")
    for layer in model.features:
        if isinstance(layer, torch.nn.Conv2d):
            layer.reset_parameters()
    return model


def randomly_initialised(network):
    """The network as torchvision or open_clip make it, with random weights, for this test only."""
    torch.manual_seed(7)
    model = {
        "AlexNet": alexnet_without_classifier,
        "InceptionV3": lambda: models.inception_v3(weights=None, init_weights=False),
        "EfficientNet-B1": lambda: models.efficientnet_b1(weights=None),
        "SwAV": lambda: models.resnet50(weights=None),
        "CLIP": lambda: open_clip.CLIP(**TINY_CLIP),
    }[network]()
    # Untrained batch normalisation lets the signal die out on its way, and one of other pictures
    # blows it up: it is given the statistics of the very pictures that are compared.
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for module in norms:
        module.momentum = None
    if norms:
        with torch.no_grad():
            model.train()(prepared_by_hand(network, pictures(np.random.default_rng(0), 4)[:3]))
    return model.eval()


def write_weights(name, model, folder):
    """A file of the published format; gives the network that expects this very file."""
    network = NETWORKS[name]
    state = model.state_dict()
    state = {k: torch.zeros(1).expand(v.shape) if v.is_meta else v for k, v in state.items()}
    file = network.weights()
    path = folder / file.name
    if name == "SwAV":  # as its authors saved it: wrapped, without classifier, with prototypes
        state = {f"module.{k}": v for k, v in state.items() if not k.startswith("fc.")}
        state["module.prototypes.weight"] = torch.zeros(3, 2)
        state["module.projection_head.0.weight"] = torch.zeros(2, 2)
    if name == "CLIP":
        save_file(state, path)
        network = replace(network, build=lambda: open_clip.CLIP(**TINY_CLIP).visual)
    else:
        torch.save(state, path)
    expected = replace(file, sha256_prefix=sha256_file(path)[:8], cached=path)
    return replace(network, weights=lambda: expected)
