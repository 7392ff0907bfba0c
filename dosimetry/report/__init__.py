"""The report of a patient run: one self-contained page."""

from dosimetry.report.page import write_report

__all__ = ["write_report"]
