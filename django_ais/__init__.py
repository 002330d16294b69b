"""Agentic workflows as ordinary Django. Importing this package needs no Django."""

__version__ = "0.1.0"
