"""Archives and scanners on the network: a storage listener, fetching by DICOMweb, sending (extra `archive`)."""
