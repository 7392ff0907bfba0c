"""The study folder: `study.yaml` and the images beside it, read into a `Study` and written from one."""

from nufitdose.io.study_folder.manifest import MANIFEST as MANIFEST
from nufitdose.io.study_folder.manifest import manifest_path as manifest_path
from nufitdose.io.study_folder.reading import load_study as load_study
from nufitdose.io.study_folder.reading import study_files as study_files
from nufitdose.io.study_folder.scanner_file import read_scanner as read_scanner
from nufitdose.io.study_folder.scanner_file import write_scanner as write_scanner
from nufitdose.io.study_folder.writing import save_study as save_study
