"""The networks whose features score pictures, and where their weights are looked for.

Nothing is downloaded here, and no network stands in for another: :func:`load_network` raises
:class:`~fmri_utils.project.errors.WeightsError` for a network whose weights are not on the machine.
The architecture is built without memory of its own (torch's meta device) and filled from the file,
so that a random weight cannot slip in.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlparse

import torch
from safetensors.torch import load_file
from torch import nn

from ..project.artifacts import sha256_file
from ..project.errors import WeightsError
from ..project.reading import outer_cause, reading, require

IMAGENET_LICENCE = "BSD-3-Clause (torchvision); learned on ImageNet, which is for research only"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FETCH = "`make weights PROFILE=nsd` fetches them"
DAMAGED = f"delete the file; {FETCH}"
SWAV_URL = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: what it is called, where it comes from, where it is looked for.

    Attributes
    ----------
    network : str
        Name of the network that needs it.
    name : str
        File name.
    url : str
        Where its publisher keeps it.
    sha256_prefix : str
        Start of its SHA-256; empty where it is not known before the file is asked for.
    megabytes : float
        About its size in MiB.
    cached : pathlib.Path
        Where it is looked for: where the library (torch.hub, Hugging Face) keeps it after a
        download.
    hub : str
        Repository and file on the Hugging Face hub, whose cache has folders of its own.
    licence : str
        What its publisher says, in short.
    """

    network: str
    name: str
    url: str
    sha256_prefix: str
    megabytes: float
    cached: Path
    hub: str = ""
    licence: str = ""

    def problem(self) -> str:
        """Why the file cannot be used, without naming folders; empty if nothing is wrong."""
        try:
            if not self.cached.is_file():
                return f"the weights {self.name} are not on this machine; {FETCH}"
            found = sha256_file(self.cached) if self.sha256_prefix else ""
        except OSError as err:
            return f"the weights {self.name} cannot be read. {outer_cause(self.cached, err)}"
        if not found.startswith(self.sha256_prefix):
            return (
                f"the weights {self.name} have SHA-256 {found[:12]}..., expected "
                f"{self.sha256_prefix}...: the file is damaged or another one"
            )
        return ""

    def find(self) -> Path:
        """The file on this machine.

        Raises
        ------
        WeightsError
            If it is not there, or its hash is another.
        """
        if os.path.lexists(self.cached):  # it may be whole, and is not to be fetched again
            require(self.cached, f"the weights of {self.network}", "", WeightsError)
        if problem := self.problem():
            raise WeightsError(
                f"{self.network}: {problem}. Expected: the file at {self.cached}; {FETCH}."
            )
        return self.cached


@dataclass(frozen=True)
class FeatureNetwork:
    """One network of the published evaluation.

    Attributes
    ----------
    name : str
    rows : mapping of str to str
        Row of the results table to the network's node; "" for its output.
    kind : str
        "two-way" (identification, higher is better) or "distance" (mean correlation distance of
        pairs, lower is better).
    size : int
        Side of its input in pixels; pictures are resized, never cropped.
    mean, std : tuple of float
        Its own normalisation of RGB.
    build : callable
        Architecture without weights.
    weights : callable
        Gives its :class:`WeightsFile`.
    select : callable
        Picks and renames what the architecture needs from the file's tensors.
    """

    name: str
    rows: Mapping[str, str]
    kind: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    build: Callable[[], nn.Module]
    weights: Callable[[], WeightsFile]
    select: Callable[[dict], dict] = dict


def _model(name: str, **options: object) -> nn.Module:
    """An architecture of torchvision, whose import takes seconds and few notebooks need."""
    from torchvision import models

    return models.get_model(name, weights=None, **options)


def _of_torchvision(
    name: str, rows: Mapping[str, str], kind: str, size: int, weights: str, **options: object
) -> FeatureNetwork:
    """One of torchvision's networks; ``weights`` as in "AlexNet_Weights.IMAGENET1K_V1"."""
    build = partial(_model, weights.partition("_Weights")[0].lower(), **options)
    file = partial(_torchvision_file, name, weights)
    return FeatureNetwork(name, rows, kind, size, *IMAGENET, build, file)


def _torchvision_file(network: str, weights: str) -> WeightsFile:
    """What torchvision's own table says of a file of weights."""
    from torchvision import models

    weights = models.get_weight(weights)
    found = torch.hub.HASH_REGEX.search(weights.url)
    about = found[1] if found else "", weights.meta["_file_size"], IMAGENET_LICENCE
    return hub_file(network, weights.url, *about)


def hub_file(
    network: str, url: str, sha256_prefix: str, megabytes: float, licence: str
) -> WeightsFile:
    """A file that torch.hub fetches from an address, where it keeps it."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    about = url, sha256_prefix, megabytes, cached
    return WeightsFile(network, cached.name, *about, licence=licence)


def _swav_file() -> WeightsFile:
    licence = "CC BY-NC 4.0 (Meta); learned on ImageNet, which is for research only"
    return hub_file("SwAV", SWAV_URL, "", 108.0, licence)


def _swav_tensors(state: dict) -> dict:
    """Tensors of the ResNet-50; the projection head and the prototypes are not part of it."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    return {k: v for k, v in state.items() if not k.startswith(("projection_head", "prototypes"))}


def _headless_resnet() -> nn.Module:
    network = _model("resnet50")
    network.fc = nn.Identity()  # SwAV learns without labels: there is no classifier to load
    return network


def open_clip_file(network: str, model: str, tag: str, megabytes: float) -> WeightsFile:
    """The file that open_clip reads for a model's weights, out of the hub's cache.

    The cache names a file's bytes by their SHA-256, as published by the hub, and links to them.

    Parameters
    ----------
    network : str
        Name for messages.
    model, tag : str
        As open_clip names them, such as "ViT-B-32-quickgelu" and "openai".
    megabytes : float
        About its size in MiB; open_clip does not tell.

    Raises
    ------
    WeightsError
        If open_clip knows no such weights on the hub.
    """
    import open_clip.pretrained
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache

    source = open_clip.pretrained.get_pretrained_cfg(model, tag).get("hf_hub", "")
    repo, _, name = source.rpartition("/")  # a name is there only where it is not the usual one
    if not repo:
        known = open_clip.list_pretrained_tags_by_model(model)
        raise WeightsError(
            f"open_clip knows no weights {tag!r} of {model!r} on the hub. Expected: one of {known}."
        )
    name = name or open_clip.constants.HF_SAFE_WEIGHTS_NAME
    found = try_to_load_from_cache(repo, name)
    cached, digest = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / name, ""
    if isinstance(found, str):
        cached, digest = Path(found), Path(found).resolve().name
    return WeightsFile(
        network=network,
        name=f"clip-{model.removesuffix('-quickgelu').lower()}-{tag}.safetensors",
        url=hf_hub_url(repo, name),
        sha256_prefix=digest if re.fullmatch("[0-9a-f]{64}", digest) else "",
        megabytes=megabytes,
        cached=cached,
        hub=f"{repo} {name}",
        licence="MIT (OpenAI)" if tag == "openai" else "see its page on the hub",
    )


def _clip_visual() -> nn.Module:
    import open_clip

    # encode_image is the image tower alone; the text tower need not be in memory.
    return open_clip.CLIP(**open_clip.get_model_config(CLIP_NAME)).visual


def _clip_tensors(state: dict) -> dict:
    return {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}


CLIP_NAME = "ViT-L-14-quickgelu"  # OpenAI's weights were trained with this activation
CLIP_MEGABYTES = 1631.0  # 428 M parameters in single precision
CLIP_COLOURS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

_ALEXNET = {"Alex(2)": "features.4", "Alex(5)": "features.11"}
# The published weights of Inception want their input normalised anew (transform_input), which
# torchvision switches on only when it loads them itself.
_INCEPTION = "Inception_V3_Weights.IMAGENET1K_V1"
_EFFICIENTNET = "EfficientNet_B1_Weights.IMAGENET1K_V2"
_ANEW = {"init_weights": False, "transform_input": True}
_CLIP_FILE = partial(open_clip_file, "CLIP", CLIP_NAME, "openai", CLIP_MEGABYTES)
_SWAV = _headless_resnet, _swav_file, _swav_tensors
_ALL = (
    _of_torchvision("AlexNet", _ALEXNET, "two-way", 256, "AlexNet_Weights.IMAGENET1K_V1"),
    _of_torchvision("InceptionV3", {"Incep": "avgpool"}, "two-way", 342, _INCEPTION, **_ANEW),
    FeatureNetwork(
        "CLIP", {"CLIP": ""}, "two-way", 224, *CLIP_COLOURS, _clip_visual, _CLIP_FILE, _clip_tensors
    ),
    _of_torchvision("EfficientNet-B1", {"EffNet-B": "avgpool"}, "distance", 255, _EFFICIENTNET),
    FeatureNetwork("SwAV", {"SwAV": "avgpool"}, "distance", 224, *IMAGENET, *_SWAV),
)
NETWORKS: dict[str, FeatureNetwork] = {network.name: network for network in _ALL}


def required_weights() -> list[WeightsFile]:
    """The files that the feature scores need, in the order of the results table."""
    return [network.weights() for network in NETWORKS.values()]


def _read_tensors(path: Path) -> dict:
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping):
        raise TypeError(f"holds a {type(state).__name__}, not named tensors")
    return dict(state)


def load_network(network: FeatureNetwork, *, device: torch.device | str = "cpu") -> Callable:
    """A network with its published weights, giving the features of its rows.

    Parameters
    ----------
    network : FeatureNetwork
    device : torch.device or str

    Returns
    -------
    callable
        Takes normalised pictures (B, 3, size, size); gives a dict of row to features (B, ...).

    Raises
    ------
    WeightsError
        If the weights are not on the machine, damaged, or of another network.
    """
    path = network.weights().find()
    with torch.device("meta"):
        model = network.build()
    with reading(path, f"the weights of {network.name}", damaged=DAMAGED, error=WeightsError):
        state = network.select(_read_tensors(path))
        state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        model.load_state_dict(state, assign=True)
    model = model.eval().requires_grad_(False).to(device)
    nodes = {node: row for row, node in network.rows.items()}
    if "" in nodes:
        return lambda images: {nodes[""]: model(images)}
    from torchvision.models.feature_extraction import create_feature_extractor

    return create_feature_extractor(model, nodes, suppress_diff_warning=True)
