"""DICOM objects read without trust: headers, times, decay, images, structures, dose."""
