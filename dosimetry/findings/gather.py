"""Results of a run -> what the report says of it."""

import numpy as np

from dosimetry.burden import tumour_burden
from dosimetry.findings.balance import balance_of
from dosimetry.findings.isodoses import isodose_volumes
from dosimetry.findings.values import Findings, Pair, Rigid, Scan, Treatment
from dosimetry.kinetics import VoxelFit
from dosimetry.results import PatientResults
from nufitdose.registration import Registration
from nufitdose.registration.series import Frame
from nufitdose.registration.uncertainty import mean_inside
from nufitdose.study import Study


def gather_findings(results: PatientResults) -> Findings:
    """What `results` say, without their images."""
    absorbed = results.maps.absorbed
    return Findings(
        study=_treatment(results.study),
        settings=results.settings,
        frames=tuple(_scan(frame) for frame in results.frames),
        structures=results.structures,
        whole_body=results.whole_body,
        rest=results.rest,
        warnings=results.warnings,
        recovery=results.recovery,
        balance=balance_of(results),
        burden=tumour_burden(results),
        derived=results.derived,
        red_marrow=results.red_marrow,
        isodoses=tuple(isodose_volumes(results)),
        statuses=results.maps.fit.counts(),
        extrapolated_fraction=_extrapolated_fraction(results.maps.fit),
        compared=results.unregistered is not None,
        left_the_field=absorbed.left_the_field,
        statistical_percent=absorbed.statistical_percent,
        voxel_volume_ml=results.maps.dose.grid.voxel_volume_ml,
    )


def _treatment(study: Study) -> Treatment:
    return Treatment(
        patient=study.patient,
        nuclide=study.nuclide,
        tracer=study.tracer,
        administration=study.administration,
        reference_id=study.reference_id,
        has_ct=study.reference.ct is not None,
        scanner=study.scanner,
        details=study.details,
        sex=(study.dicom or {}).get("PatientSex") or None,
    )


def _scan(frame: Frame) -> Scan:
    return Scan(
        id=frame.id,
        time_h=frame.time_h,
        total_mbq=frame.total_mbq,
        bed_by_bed=frame.offset_h is not None,
        registration=None if frame.registration is None else _pair(frame.registration),
        agreement=frame.agreement,
        transport=frame.transport,
        light=frame.light,
        u_registration_mm=mean_inside(frame.u_registration_mm),
    )


def _pair(found: Registration) -> Pair:
    rigid = None if found.rigid is None else Rigid(found.rigid.quality)
    return Pair(found.engine, found.basis, found.seconds, found.quality, found.unregistered, rigid)


def _extrapolated_fraction(fit: VoxelFit) -> float:
    whole = float(fit.tia.sum(dtype=np.float64))
    return float(np.dot(fit.tia.astype(np.float64), np.nan_to_num(fit.extrapolated))) / whole if whole > 0 else np.nan
