"""DICOM objects that other programs read: dose, and whole studies."""
