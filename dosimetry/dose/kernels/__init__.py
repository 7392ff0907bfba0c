"""Dose kernels in water: radial kernels of any nuclide, and voxel kernels made of them."""
