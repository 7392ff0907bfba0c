"""The import: a folder of DICOM files becomes a study folder."""

from nufitdose.io.importer.plan import ImportOptions as ImportOptions
from nufitdose.io.importer.planning import plan_import as plan_import
from nufitdose.io.importer.planning import write_study as write_study
