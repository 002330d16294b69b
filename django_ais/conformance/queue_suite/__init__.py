"""The tests of queue drivers. Run by ``python -m django_ais.conformance queue``; nobody subclasses or copies them."""
