"""The files of a run: maps, registered scans, tables, DICOM, and its summary on the terminal."""
