"""Several cycles of one patient: their doses added, on structures and on voxels."""
