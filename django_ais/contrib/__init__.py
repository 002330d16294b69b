"""Doors for programs that are not Django's: what their command lines name."""
