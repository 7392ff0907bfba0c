"""The report of a patient run: one self-contained page, built from the results folder alone."""

from dosimetry.report.page import write_report
from dosimetry.report.pdf import print_pdf
from dosimetry.report.pictures import write_pictures

__all__ = ["print_pdf", "write_pictures", "write_report"]
