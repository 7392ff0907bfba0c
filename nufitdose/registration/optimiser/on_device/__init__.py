"""The optimiser's kernels in tensors of torch, for a GPU: the mathematics of the compiled loops, all nodes at once."""

from nufitdose.registration.optimiser.on_device.kernels import OnDevice

__all__ = ["OnDevice"]
