"""A small Django project that takes documents in: split, summarise, extract, review, file."""
