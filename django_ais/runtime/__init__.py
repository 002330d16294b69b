"""The machinery. Private: the public verbs are in `django_ais.jobs`."""
