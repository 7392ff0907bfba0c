"""The version of the program, as its installed package says."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nufitdose")
except PackageNotFoundError:  # run from a bare source tree
    __version__ = "0+unknown"
