"""A GPU for machines without one: tensors that say they lie elsewhere and refuse what a GPU's do.

``python tests/virtual_gpu.py SEED 01_data_prep ...`` runs notebooks of the smoke profile on it. It
has tensors that compute with a CPU tensor that they hold, so numbers are a CPU's. But they do not
become NumPy arrays without ``.cpu()``, and mix neither with the CPU's tensors nor with its random
generators: what forgets a device fails as it would on a GPU. Speed, memory and half precision are
not imitated.
"""

import os
import sys
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

NAME = "lazy"  # a device type that autograd knows and that nothing is behind
aten = torch.ops.aten
MIXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
MIXING |= {aten._index_put_impl_.default, aten.copy_.default, aten._to_copy.default}
"""What takes tensors of two devices, also on a GPU."""


class VirtualTensor(torch.Tensor):
    """A tensor on the virtual GPU; ``inner`` is the CPU's."""

    @staticmethod
    def __new__(cls, inner):
        where = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        what = {"dtype": inner.dtype, "device": NAME}
        return torch.Tensor._make_wrapper_subclass(cls, inner.size(), **where, **what)

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"VirtualTensor({self.inner!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


OURS = {}  # address to generator: the library makes new Python objects of the same generator


class VirtualGenerator(torch.Generator):
    """torch.Generator, also for the virtual GPU."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        if is_virtual(device):
            OURS[self._cdata] = self  # kept: its address must not be given to another one

    @property
    def device(self):
        return torch.device(NAME if self._cdata in OURS else "cpu")


def is_virtual(device):
    return device is not None and torch.device(device).type == NAME


def refuse_mixtures(func, tensors, generators, virtual):
    """Raise what a GPU's tensors raise."""
    on_gpu = [x for x in tensors if isinstance(x, VirtualTensor)]
    on_cpu = [x for x in tensors if not isinstance(x, VirtualTensor) and x.ndim]  # not numbers
    if on_gpu and on_cpu and func not in MIXING:
        shapes = [[tuple(x.shape) for x in part] for part in (on_gpu, on_cpu)]
        raise RuntimeError(f"{func}: {shapes[0]} are on the GPU, but {shapes[1]} on the CPU")
    if func is aten.index.Tensor and on_gpu and not isinstance(tensors[0], VirtualTensor):
        raise RuntimeError(f"{func}: indices on the GPU for a tensor on the CPU")
    for generator in generators:
        if (generator._cdata in OURS) != virtual:
            raise RuntimeError(f"{func}: the random generator is on another device")


def compute(func, args, kwargs):
    """Compute on the CPU what is asked for on the virtual GPU."""
    flat, _ = tree_flatten((args, kwargs))
    tensors = [x for x in flat if isinstance(x, torch.Tensor)]
    if kwargs.get("device") is not None:
        virtual = is_virtual(kwargs["device"])
        kwargs = {**kwargs, "device": torch.device("cpu") if virtual else kwargs["device"]}
    elif func is aten.copy_.default:
        virtual = isinstance(args[0], VirtualTensor)
    else:
        virtual = any(isinstance(x, VirtualTensor) for x in tensors)
    refuse_mixtures(func, tensors, [x for x in flat if isinstance(x, torch._C.Generator)], virtual)
    if func is aten._efficientzerotensor.default:
        func = aten.zeros.default  # the CPU's one has no memory
    inner, options = tree_map(
        lambda x: x.inner if isinstance(x, VirtualTensor) else x, (args, kwargs)
    )
    out = func(*inner, **options)
    if not virtual:
        return out
    out = tree_map(lambda x: VirtualTensor(x) if isinstance(x, torch.Tensor) else x, out)
    if func is aten._to_copy.default:
        return out
    return return_and_correct_aliasing(func, args, kwargs, out)


class Operations(TorchDispatchMode):
    """Sees operations without any tensor, such as ``torch.zeros(2, device=...)``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        seen = (VirtualTensor, torch._C.Generator)
        if is_virtual(kwargs.get("device")) or any(
            isinstance(x, seen) for x in tree_flatten((args, kwargs))[0]
        ):
            return compute(func, args, kwargs)
        return func(*args, **kwargs)


class Functions(TorchFunctionMode):
    """Sees what makes tensors of data, or data of tensors: that is no operation."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.tolist and isinstance(args[0], VirtualTensor):
            return args[0].inner.tolist()
        if func is torch.Tensor.new_tensor:
            device = kwargs.pop("device", args[0].device)
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(device)
        from_data = func in (torch.tensor, torch.as_tensor, torch.asarray)
        if from_data and is_virtual(kwargs.get("device")):
            if isinstance(args[0], VirtualTensor):
                return args[0].to(kwargs.get("dtype") or args[0].dtype)
            return func(*args, **{**kwargs, "device": "cpu"}).to(NAME)
        return func(*args, **kwargs)


def install():
    """Make the package choose the virtual GPU, before anything else of it is imported."""
    # Wrapped tensors cannot be views there. Nothing but speed depends on it.
    torch.inference_mode = lambda mode=True: torch.no_grad()
    torch.Generator = VirtualGenerator
    autocast = torch.autocast
    torch.autocast = lambda kind, *a, **k: autocast("cpu" if kind == NAME else kind, *a, **k)
    for optimiser in (torch.optim.Adam, torch.optim.AdamW):
        optimiser.__init__ = without_fused(optimiser.__init__)
    from fmri_utils.project import devices

    devices.choose_device = lambda name: torch.device(NAME)
    from fmri_utils.encoders import common

    common.compute_device = devices.choose_device
    for module in list(sys.modules.values()):
        if module.__name__.startswith("fmri_utils.") and hasattr(module, "compute_device"):
            module.compute_device = devices.choose_device
    Operations().__enter__()
    Functions().__enter__()


def without_fused(init):
    """An optimiser's initialiser that goes the way which needs no kernel of the device's."""

    def plain(self, *args, **kwargs):
        init(self, *args, **{**kwargs, "fused": False})

    return plain


def run(path, seed):
    """Run a notebook's cells here, with the smoke profile."""
    import jupytext
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()
            if "parameters" in cell.metadata.get("tags", ()):
                shell.push({"PROFILE": "smoke", "SEED": seed, "INTERACTIVE": False})


if __name__ == "__main__":
    install()
    import matplotlib

    matplotlib.use("agg")
    os.chdir(Path(__file__).parents[1] / "notebooks")
    for stem in sys.argv[2:]:
        run(Path(f"{stem}.py"), int(sys.argv[1]))
        print(f"{stem} ran on {NAME}")
