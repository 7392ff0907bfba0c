"""Digital patients: serial SPECT/CT and PET/CT studies whose motion, kinetics and anatomy are known exactly."""

from nufitdose.phantom.cohort import CohortPlan as CohortPlan
from nufitdose.phantom.cohort import simulate_cohort as simulate_cohort
from nufitdose.phantom.patient import DigitalPatient as DigitalPatient
from nufitdose.phantom.patient import simulate_patient as simulate_patient
from nufitdose.phantom.settings import LabelledImages as LabelledImages
from nufitdose.phantom.settings import PatientSettings as PatientSettings
from nufitdose.phantom.truth import PatientTruth as PatientTruth
from nufitdose.phantom.writer import require_free_folder as require_free_folder
from nufitdose.phantom.writer import write_patient as write_patient
