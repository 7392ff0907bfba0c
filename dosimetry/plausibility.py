"""What a physicist would notice before trusting a study; said once, stopping nothing."""

import logging
import math

import numpy as np

from nufitdose.anatomy.prepared import PreparedAnatomy, share_in_body
from nufitdose.nuclides import half_life_h, long_lived_progeny
from nufitdose.study import MOST_OF_ADMINISTERED, Study, TimePoint
from nufitdose.types import Image32
from nufitdose.volume import Volume

log = logging.getLogger(__name__)

# Guide values of this program, without published authority.
_LEAST_OF_ADMINISTERED = 1e-4
_LEAST_IN_BODY = 0.8  # about 97 % of the activity lies in the body that a well-aligned CT shows
_MOST_BEYOND_CT = 0.01  # of the activity: a CT that is shorter than that gives density to less than all of it


def check_study(study: Study, anatomy: PreparedAnatomy | None) -> None:
    """Warn of what the study lacks and of numbers that cannot be as they are; `anatomy` is that of the reference."""
    if study.reference.ct is None:
        log.warning("the reference time point %r has no CT: one density is used for every voxel", study.reference_id)
    else:
        _check_coverage(study.reference.activity, study.reference.ct)
    if study.structures is None:
        log.warning(
            "no structures are drawn: metrics.csv has the whole body alone. 'nufitdose segment STUDY' draws organs "
            "where TotalSegmentator is installed; or import an RTSTRUCT or SEG, or name a label map in study.yaml"
        )
    count = len(study.timepoints)
    if count < 3:
        points = "one time point" if count == 1 else f"{count} time points"
        log.warning("%s: the curves have no degree of freedom left for a fit uncertainty", points)
    left_out = long_lived_progeny(study.nuclide)
    if left_out:
        log.warning("radioactive progeny that outlive %s are not in the dose: %s", study.nuclide, ", ".join(left_out))
    for timepoint in study.timepoints:
        _check_total(study, timepoint)
        if timepoint.ct is not None:
            reference = anatomy if timepoint.id == study.reference_id else None
            body = reference.body_share if reference else share_in_body(timepoint.ct, timepoint.activity.grid)
            _check_alignment(timepoint, body)


def _check_total(study: Study, timepoint: TimePoint) -> None:
    """Σ c V against A₀ 2^(-t/T): there cannot be more than was given, and hardly nothing."""
    left_mbq = study.administration.left_mbq(timepoint.time_h, half_life_h(study.nuclide))
    found_mbq = timepoint.activity.total_mbq()
    if found_mbq > MOST_OF_ADMINISTERED * left_mbq:
        log.warning(
            "scan %s holds %.4g MBq, more than the %.4g MBq that are left of what was administered: "
            "check units (Bq/mL), calibration and decay correction",
            timepoint.id,
            found_mbq,
            left_mbq,
        )
    elif found_mbq < _LEAST_OF_ADMINISTERED * left_mbq:
        log.warning(
            "scan %s holds %.3g MBq of the %.4g MBq that are left of what was administered: check units (Bq/mL)",
            timepoint.id,
            found_mbq,
            left_mbq,
        )


def _check_coverage(reference: Volume, ct: Volume) -> None:
    """The share of the activity that lies where the CT of the reference does not reach."""
    activity = np.maximum(reference.data, 0.0)
    total = float(activity.sum(dtype=np.float64))
    beyond = float(activity[~ct.grid.covers(reference.grid)].sum(dtype=np.float64))
    if beyond > _MOST_BEYOND_CT * total:
        log.warning(
            "%.0f %% of the activity lies beyond the CT, which is shorter than the scan: soft tissue of "
            "dose.density_without_ct_g_ml is taken there",
            100 * beyond / total,
        )


def _check_alignment(timepoint: TimePoint, body: Image32) -> None:
    """The share of the activity within the body that the CT shows."""
    activity = np.maximum(timepoint.activity.data, 0.0)
    total = float(activity.sum(dtype=np.float64))
    share = float((activity * body).sum(dtype=np.float64)) / total if total > 0 else math.nan
    if share < _LEAST_IN_BODY:
        log.warning(
            "only %.0f %% of the activity of scan %s lies within the body that its CT shows: "
            "check that both images stand in the same place",
            100 * share,
            timepoint.id,
        )
