"""Traffic lights: what was found, the guide value behind it, and how the two stand to each other."""
