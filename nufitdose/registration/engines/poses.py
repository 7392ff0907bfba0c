"""The engines that do not bend: none, rigid, affine."""

from nufitdose.registration.engines.engine import Engine, Request
from nufitdose.registration.engines.linear import affine_pose, rigid_pose
from nufitdose.registration.field import DisplacementField


def leave_in_place(request: Request) -> DisplacementField:
    """The scans as they stand in their worlds."""
    return DisplacementField.identity(request.grid)


def move_rigidly(request: Request) -> DisplacementField:
    """Six parameters: for scans of one patient."""
    pose = rigid_pose(request.fixed, request.moving, request.basis, request.on_progress)
    return DisplacementField.from_affine(pose.matrix, request.grid)


def map_affinely(request: Request) -> DisplacementField:
    """The rigid pose and then twelve parameters: for scans of two patients."""
    pose = affine_pose(request.fixed, request.moving, request.basis, request.on_progress)
    return DisplacementField.from_affine(pose.matrix, request.grid)


NONE = Engine("none", leave_in_place)
RIGID = Engine("rigid", move_rigidly, "rigid registration of {bases}")
AFFINE = Engine("affine", map_affinely, "affine registration of {bases}")

UNBENT = frozenset({NONE.name, RIGID.name, AFFINE.name})
