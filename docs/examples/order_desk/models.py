"""The application's own rows; workers write them in ``on_done``."""

from django.db import models


class Order(models.Model):
    """An order, and what its customer asks about it."""

    number = models.CharField(max_length=20, unique=True)
    email = models.EmailField(blank=True)
    total = models.IntegerField(default=0, help_text="In cents.")
    question = models.TextField(blank=True)
    topic = models.CharField(max_length=20, blank=True)
    answer = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.number
