"""What the report says of a run, without its images: values that a results folder keeps."""

from dosimetry.findings.values import Findings, Pair, Rigid, Scan, Treatment

__all__ = ["Findings", "Pair", "Rigid", "Scan", "Treatment"]
