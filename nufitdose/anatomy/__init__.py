"""What a CT or an activity says of a body: where it is, how dense it is, which voxels a region takes."""
