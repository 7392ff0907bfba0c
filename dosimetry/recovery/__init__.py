"""What the resolution of the scanner took from each structure and gave to its neighbours, and how it is given back."""

from dosimetry.recovery.correction import RecoveryPlan as RecoveryPlan
from dosimetry.recovery.correction import correct_frames as correct_frames
from dosimetry.recovery.correction import plan_recovery as plan_recovery
from dosimetry.recovery.transfer import Reading as Reading
from dosimetry.recovery.values import UNKNOWN as UNKNOWN
from dosimetry.recovery.values import Recovery as Recovery
from dosimetry.recovery.values import StructureRecovery as StructureRecovery
