"""The workflow language: what a file may say, and what follows from it. Pure: no Django, no database, no clock.

Import from the module that owns the word: ``loader`` (a file), ``spec`` (its meaning), ``graph`` (what may start now),
``expressions`` and ``templates`` (values), ``schemas`` (inputs), ``diff`` (two versions side by side).
"""
