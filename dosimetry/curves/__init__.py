"""Which time-activity curve each structure and its voxels get."""
