"""elastix as an engine, through itk-elastix: a peer to compare with (Klein et al. 2010, doi:10.1109/TMI.2009.2035616).

`elastix` runs its default rigid, affine and B-spline parameter maps on the CTs; `elastix-tuned` its default rigid map
and a B-spline after Par0011 of its model zoo (normalised correlation 1, bending energy 0.05 relative).
"""

import tempfile
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field

from nufitdose.config import Settings
from nufitdose.registration.engines.engine import Engine, Need, Request
from nufitdose.registration.engines.exchange import ct_of, field_from_lps, lps_geometry
from nufitdose.registration.field import DisplacementField
from nufitdose.volume import OUTSIDE, Quantity, Volume

_LINEAR_ITERATIONS = 250
_RESOLUTIONS = 4


class ElastixSettings(Settings):
    """`iterations` on each resolution of the B-spline, whose control points lie `spacing_mm` apart."""

    metric: Literal["mutual information", "correlation and bending energy"] = "mutual information"
    iterations: int = Field(default=500, ge=1)
    spacing_mm: float = Field(default=16.0, gt=0)
    threads: int = Field(default=2, ge=1)


def run_elastix(request: Request) -> DisplacementField:
    """The field of elastix between the two CTs."""
    import itk

    settings = cast(ElastixSettings, request.settings)
    fixed, moving = ct_of(request.fixed), ct_of(request.moving)
    image_f, image_m = _to_itk(fixed), _to_itk(moving)
    method = itk.ElastixRegistrationMethod.New(image_f, image_m)
    method.SetParameterObject(_parameters(settings))
    method.SetNumberOfThreads(settings.threads)
    method.UpdateLargestPossibleRegion()
    request.on_progress(0.8)
    with tempfile.TemporaryDirectory() as aside:  # transformix writes the field to disk too
        found = itk.transformix_deformation_field(image_m, method.GetTransformParameterObject(), output_directory=aside)
        return field_from_lps(itk.array_from_image(found), fixed.grid).on(request.grid)


def _to_itk(volume: Volume) -> Any:
    """The volume as an image of ITK: LPS, axes in the order k, j, i."""
    import itk

    image = itk.image_from_array(np.ascontiguousarray(volume.data.transpose(2, 1, 0)))
    spacing, origin, direction = lps_geometry(volume.grid)
    image.SetSpacing(list(spacing))
    image.SetOrigin(list(origin))
    image.SetDirection(itk.matrix_from_array(direction))
    return image


def _parameters(settings: ElastixSettings) -> Any:
    """The parameter maps, one after the other."""
    import itk

    maps = itk.ParameterObject.New()
    rigid = maps.GetDefaultParameterMap("rigid", _RESOLUTIONS)
    rigid["AutomaticTransformInitialization"] = ["true"]
    rigid["MaximumNumberOfIterations"] = [str(_LINEAR_ITERATIONS)]
    maps.AddParameterMap(rigid)
    if settings.metric == "mutual information":
        affine = maps.GetDefaultParameterMap("affine", _RESOLUTIONS)
        affine["MaximumNumberOfIterations"] = [str(_LINEAR_ITERATIONS)]
        maps.AddParameterMap(affine)
        maps.AddParameterMap(_spline_of_information(maps, settings))
    else:
        maps.AddParameterMap(_spline_of_correlation(maps, settings))
    for number in range(maps.GetNumberOfParameterMaps()):
        maps.SetParameter(number, "DefaultPixelValue", f"{OUTSIDE[Quantity.HU]:g}")
    return maps


def _spline_of_information(maps: Any, settings: ElastixSettings) -> Any:
    spline = maps.GetDefaultParameterMap("bspline", _RESOLUTIONS, settings.spacing_mm)
    spline["MaximumNumberOfIterations"] = [str(settings.iterations)]
    spline["Metric"] = ["AdvancedMattesMutualInformation"]
    spline["Registration"] = ["MultiResolutionRegistration"]
    spline.erase("Metric0Weight")
    spline.erase("Metric1Weight")
    return spline


def _spline_of_correlation(maps: Any, settings: ElastixSettings) -> Any:
    spline = maps.GetDefaultParameterMap("bspline", 5, settings.spacing_mm)
    chosen = {
        "Registration": ["MultiMetricMultiResolutionRegistration"],
        "Metric": ["AdvancedNormalizedCorrelation", "TransformBendingEnergyPenalty"],
        "UseRelativeWeights": ["true"],
        "Metric0RelativeWeight": ["1"],
        "Metric1RelativeWeight": ["0.05"],
        "NumberOfResolutions": ["5"],
        "ImagePyramidSchedule": [str(n) for n in (16, 8, 4, 2, 1) for _ in range(3)],
        "GridSpacingSchedule": ["8", "8", "4", "2", "1"],
        "FinalGridSpacingInPhysicalUnits": [f"{settings.spacing_mm:g}"],
        "MaximumNumberOfIterations": [str(settings.iterations)],
        "ImageSampler": ["RandomCoordinate"],
        "NumberOfSpatialSamples": ["4000"],
        # Two metrics on several threads crash where a number of threads is set (ITKElastix, report 160).
        "UseMultiThreadingForMetrics": ["false"],
    }
    for key, value in chosen.items():
        spline[key] = value
    return spline


_NEEDS = frozenset({Need.CTS, Need.ELASTIX})
ELASTIX = Engine(
    "elastix",
    run_elastix,
    "rigid, affine and B-spline registration of {bases} by elastix (mutual information)",
    ElastixSettings(),
    _NEEDS,
)
ELASTIX_TUNED = Engine(
    "elastix-tuned",
    run_elastix,
    "rigid and B-spline registration of {bases} by elastix (normalised correlation, bending energy)",
    ElastixSettings(metric="correlation and bending energy", iterations=1000, spacing_mm=10.0),
    _NEEDS,
)
