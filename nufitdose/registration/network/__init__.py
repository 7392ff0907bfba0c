"""The registration network: two encoders that exchange features, one decoder, a velocity."""

from nufitdose.registration.network.model import NufitReg
from nufitdose.registration.network.settings import NetworkSettings
from nufitdose.registration.network.weights import load_weights, save_weights, shipped_network
from nufitdose.registration.objective import NetworkOutput

__all__ = ["NetworkOutput", "NetworkSettings", "NufitReg", "load_weights", "save_weights", "shipped_network"]
