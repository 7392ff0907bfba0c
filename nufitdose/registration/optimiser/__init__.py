"""One pair of scans brought onto each other: Gauss and Newton's method on local correlation, compiled."""
