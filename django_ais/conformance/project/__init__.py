"""A tiny Django project in which the suite's jobs live and its worker processes run. Settings from the environment."""
