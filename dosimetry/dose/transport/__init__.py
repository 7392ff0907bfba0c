"""Electrons and photons in water and tissue: cross-sections and compiled Monte Carlo transport."""
