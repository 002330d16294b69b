"""The application's own table: what a job did to the world."""

from __future__ import annotations

from django.db import models


class Effect(models.Model):
    """One effect of one job. Nothing here is unique, so that an effect that happened twice can be seen."""

    job_id = models.CharField(max_length=64, db_index=True)
    name = models.CharField(max_length=200)
    created_by = models.CharField(max_length=200, default="", help_text="Which process wrote it.")

    def __str__(self) -> str:
        return f"{self.name} of {self.job_id}"
