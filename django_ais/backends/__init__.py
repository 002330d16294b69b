"""Drivers, named in settings and imported by nobody: one folder for each contract."""
