"""The registration network: two encoders that exchange features, one decoder, a velocity."""

from nufitdose.registration.network.model import NufitReg
from nufitdose.registration.network.settings import NetworkSettings
from nufitdose.registration.network.weights import (
    TrainedNetwork,
    check_weights,
    load_network,
    load_weights,
    save_weights,
)
from nufitdose.registration.objective import NetworkOutput

__all__ = [
    "NetworkOutput",
    "NetworkSettings",
    "NufitReg",
    "TrainedNetwork",
    "check_weights",
    "load_network",
    "load_weights",
    "save_weights",
]
