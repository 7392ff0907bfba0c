"""Digital patients: serial SPECT/CT and PET/CT studies whose motion, kinetics and anatomy are known exactly."""

from nufitdose.phantom.patient import DigitalPatient as DigitalPatient
from nufitdose.phantom.patient import simulate_patient as simulate_patient
from nufitdose.phantom.truth import PatientTruth as PatientTruth
from nufitdose.phantom.writer import write_patient as write_patient
