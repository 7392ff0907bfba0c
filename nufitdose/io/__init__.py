"""Files in and out. The only room that knows LPS, DICOM and NIfTI; everything behind it is RAS+ mm."""
