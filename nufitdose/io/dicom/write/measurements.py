"""Numbers of structures as a structured report, by highdicom (PS3.16 TID 1500)."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from nufitdose.image_sources import made_uid
from nufitdose.io.dicom.read.headers import quiet
from nufitdose.io.dicom.write.objects import save_object
from nufitdose.version import __version__

Coded = tuple[str, str, str]  # value, scheme, meaning


@dataclass(frozen=True)
class Measured:
    """A value with its unit and, where known, its standard uncertainty."""

    name: Coded
    value: float
    unit: Coded
    u: float = math.nan


@dataclass(frozen=True)
class MeasuredStructure:
    """The numbers of the segment `number` of a SEG object."""

    name: str
    number: int
    measured: tuple[Measured, ...]


_STANDARD_UNCERTAINTY: Coded = ("U0001", "99NUFITDOSE", "Standard uncertainty")


def write_measurements(
    structures: Sequence[MeasuredStructure], segmentation: Dataset, image_series: str, path: str | Path
) -> Dataset:
    """Write the numbers of every structure, each with the segment it was measured in; returns the object.

    `image_series` is the UID of the series that the segments lie on.

    Values that are not known are left out; a standard uncertainty stands beside its value as a measurement of its own.
    """
    from highdicom.sr import (
        CodedConcept,
        Comprehensive3DSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=made_uid("device", "nufitdose", __version__), name="nufitdose", manufacturer_name="nufitdose",
        model_name="nufitdose",
    )  # fmt: skip
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=CodedConcept("PR0001", "99NUFITDOSE", "Radionuclide therapy dosimetry"),
        imaging_measurements=[_group(structure, segmentation, image_series) for structure in structures],
        title=codes.DCM.ImagingMeasurementReport,
    )
    digest = hashlib.sha256(repr((structures, str(segmentation.SOPInstanceUID))).encode()).hexdigest()
    with quiet():
        found = Comprehensive3DSR(
            evidence=[segmentation],
            content=report,
            series_instance_uid=made_uid("sr series", digest),
            series_number=1,
            sop_instance_uid=made_uid("sr", digest),
            instance_number=1,
            manufacturer="nufitdose",
            is_complete=True,
            series_description="Absorbed dose of structures (research use only)",
        )
    save_object(found, Path(path))
    return found


def _group(structure: MeasuredStructure, segmentation: Dataset, image_series: str) -> Any:
    from highdicom.sr import (
        CodedConcept,
        Measurement,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    segment = segmentation.SegmentSequence[structure.number - 1]
    measured = []
    for found in structure.measured:
        if math.isfinite(found.value):
            name, unit = CodedConcept(*found.name), CodedConcept(*found.unit)
            measured.append(Measurement(name=name, value=found.value, unit=unit))
            if math.isfinite(found.u):
                of_it = CodedConcept(*_STANDARD_UNCERTAINTY)
                measured.append(Measurement(name=name, value=found.u, unit=unit, derivation=of_it))
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=str(segment.TrackingUID), identifier=structure.name),
        referenced_segment=ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            structure.number,
            source_series=SourceSeriesForSegmentation(image_series),
        ),
        finding_type=CodedConcept(
            segment.SegmentedPropertyTypeCodeSequence[0].CodeValue,
            segment.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator,
            segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning,
        ),
        measurements=measured,
    )
