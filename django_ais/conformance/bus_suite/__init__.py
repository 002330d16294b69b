"""The tests of bus drivers. Run by ``python -m django_ais.conformance bus``; nobody subclasses or copies them."""
