"""The device that tensors live on."""

import torch

from .errors import ProfileError


def choose_device(name: str) -> torch.device:
    """The torch device of a profile.

    Parameters
    ----------
    name : str
        "auto" for a GPU where there is one, otherwise a torch device ("cpu", "cuda:0", "mps").

    Raises
    ------
    ProfileError
        If the device was asked for by name and is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # "meta" and the like hold no numbers
    except (RuntimeError, AssertionError) as err:
        raise ProfileError(
            f"device {name!r} is not available here ({str(err).splitlines()[0]}). Use DEVICE=auto."
        ) from err
    return device
