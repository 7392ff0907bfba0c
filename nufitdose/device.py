"""Where tensors are computed."""

import torch

from nufitdose.errors import InputError


def resolve_device(device: str = "auto") -> torch.device:
    """The device that `'auto'`, `'cpu'` or `'cuda'` stands for; `'auto'` is CUDA where present.

    Raises `InputError` on another word, and on 'cuda' where there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {device!r} was asked for", remedy="Choose 'auto', 'cpu' or 'cuda'")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device 'cuda' was asked for and torch finds no CUDA device",
            remedy="Choose 'auto' or 'cpu', or install a driver and a torch build for CUDA",
        )
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
