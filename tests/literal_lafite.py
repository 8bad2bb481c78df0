"""LAFITE's generator, word for word: one weight per sample, grouped convolutions, plain filters.

Slow, and obviously the published function. Tests compare the package with it, and
``benchmarks/generator.py`` times it.
"""

import math

import torch
import torch.nn.functional as F


def fir_by_definition(x, pad, gain):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    kernel = (torch.outer(taps, taps) / 64 * gain).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, pad), kernel, groups=x.shape[1])


def with_zeros_between(x):
    wide = x.new_zeros(x.shape[0], x.shape[1], x.shape[2], 2, x.shape[3], 2)
    wide[:, :, :, 0, :, 0] = x
    return wide.reshape(x.shape[0], x.shape[1], 2 * x.shape[2], 2 * x.shape[3])


def literal_layer(state, name, x, style, up):
    """One weight per sample, modulated and demodulated, in one grouped convolution."""
    n, n_in, size, _ = x.shape
    w = state[f"{name}.weight"][None] * style[:, None, :, None, None]
    w = w * (w.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    n_out = w.shape[1]
    x = x.reshape(1, n * n_in, size, size)
    if up:
        per_sample = w.transpose(1, 2).reshape(n * n_in, n_out, 3, 3)
        x = F.conv_transpose2d(x, per_sample, stride=2, groups=n)
        x = fir_by_definition(x.reshape(n, n_out, *x.shape[2:]), (1, 1, 1, 1), 4)
    else:
        x = F.conv2d(x, w.reshape(n * n_out, n_in, 3, 3), padding=1, groups=n)
        x = x.reshape(n, n_out, size, size)
    x = x + state[f"{name}.noise_const"] * state[f"{name}.noise_strength"]
    x = x + state[f"{name}.bias"][None, :, None, None]
    return (F.leaky_relu(x, 0.2) * math.sqrt(2)).clamp(-256, 256)


def literal_dense(state, name, x, lr_multiplier=1.0, active=False):
    weight = state[f"{name}.weight"]
    x = x @ (weight * lr_multiplier / math.sqrt(weight.shape[1])).T
    x = x + state[f"{name}.bias"] * lr_multiplier
    return F.leaky_relu(x, 0.2) * math.sqrt(2) if active else x


def literal_style(state, name, w, condition):
    def chain(first):
        x = literal_dense(state, f"{name}.{first}_0", condition, 0.01, True)
        return literal_dense(state, f"{name}.{first}_1", x, 0.01, True)

    if f"{name}.pre_0.weight" in state:
        return literal_dense(state, f"{name}.affine_0", torch.cat([chain("pre"), w], 1))
    scale = literal_dense(state, f"{name}.scale_layer_2", chain("scale_layer"))
    shift = literal_dense(state, f"{name}.bias_layer_2", chain("bias_layer"))
    return shift + literal_dense(state, f"{name}.affine", w) * scale


def literal_image(state, resolution, ws, condition):
    n, index, image = len(ws), 0, None
    x = state["synthesis.b4.const"].expand(n, -1, -1, -1)
    size = 4
    while size <= resolution:
        for conv in ("conv0", "conv1")[size == 4 :]:
            name = f"synthesis.b{size}.{conv}"
            style = literal_style(state, name, ws[:, index], condition)
            x = literal_layer(state, name, x, style, up=conv == "conv0")
            index += 1
        name = f"synthesis.b{size}.torgb"
        style = literal_style(state, name, ws[:, index], condition) / math.sqrt(x.shape[1])
        rgb = torch.einsum("nchw,nc,oc->nohw", x, style, state[f"{name}.weight"][:, :, 0, 0])
        rgb = (rgb + state[f"{name}.bias"][:, None, None]).clamp(-256, 256)
        if image is not None:
            image = fir_by_definition(with_zeros_between(image), (2, 1, 2, 1), 4)
        image = rgb if image is None else image + rgb
        size *= 2
    return image
