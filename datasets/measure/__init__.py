"""Measuring here: what this machine really takes, as a measured table that `silicast fit` reads at once, with where it came from."""
