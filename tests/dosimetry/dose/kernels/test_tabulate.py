"""The shipped tables of mono-energetic kernels are those that one command makes again."""

import numpy as np
import pytest

from dosimetry.dose.kernels import tabulate

ELECTRON, PHOTON = 24, 50  # rows of 0.2 and 0.3 MeV


def test_the_tables_made_again_agree_with_those_shipped(monkeypatch, tmp_path):
    """One energy of each, few histories of another seed: what is left within the radii of 25, 50 and 75 %."""
    shipped = {kind: np.load(tabulate.DATA / f"{kind}.npz") for kind in ("electrons", "photons")}
    for kind, row in (("ELECTRON", ELECTRON), ("PHOTON", PHOTON)):
        energies = getattr(tabulate, f"{kind}_ENERGIES_MEV")
        monkeypatch.setattr(tabulate, f"{kind}_ENERGIES_MEV", energies[row : row + 1])
    tabulate.tabulate(tmp_path, electrons=1000, photons=300)
    again = {kind: np.load(tmp_path / f"{kind}.npz") for kind in shipped}
    for kind, row, tolerance in (("electrons", ELECTRON, 0.08), ("photons", PHOTON, 0.15)):
        assert set(again[kind].files) == set(shipped[kind].files)
        assert again[kind]["energy_mev"][0] == shipped[kind]["energy_mev"][row]
        one, other = (np.cumsum(tables["deposited"][at]) for tables, at in ((again[kind], 0), (shipped[kind], row)))
        for part in (0.25, 0.5, 0.75):
            reach = np.searchsorted(other, part * other[-1])
            assert one[reach] == pytest.approx(other[reach], rel=tolerance)
