"""Engines that bring one scan onto another, chosen by name."""
