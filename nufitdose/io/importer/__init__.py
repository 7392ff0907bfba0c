"""The import: a folder of DICOM files becomes a study folder.

Read top to bottom in `planning`: facts (`options`, `facts`), series (`candidates`, `choose`), the treatment
(`administration`), `checks`, what belongs together (`match`, `placing`), and `writing`.
"""

from nufitdose.io.importer.options import ImportOptions as ImportOptions
from nufitdose.io.importer.planning import plan_import as plan_import
from nufitdose.io.importer.writing import write_study as write_study
