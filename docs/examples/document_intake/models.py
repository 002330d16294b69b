"""The application's own rows. Workers write them in ``on_done``, in the transaction that records the job's result.

`Summary` and `Field` have no unique constraint on purpose: what happened twice would be there twice, to be counted.
"""

from django.db import models


class Document(models.Model):
    """A text that was handed in; what `kind`, `title` and `score` say is filled in when it is filed."""

    name = models.CharField(max_length=200)
    text = models.TextField()
    title = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=20, blank=True)
    score = models.FloatField(null=True)

    def __str__(self) -> str:
        return self.name


class Page(models.Model):
    """A page of a document, numbered from 1 within it."""

    document = models.ForeignKey(Document, models.CASCADE, related_name="pages")
    number = models.PositiveIntegerField()
    text = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["document", "number"], name="intake_page")]

    def __str__(self) -> str:
        return f"{self.document}, page {self.number}"


class Summary(models.Model):
    """What a page says: a few of its own sentences, with an empty line between two."""

    page = models.ForeignKey(Page, models.CASCADE, related_name="summaries")
    text = models.TextField()

    class Meta:
        verbose_name_plural = "summaries"

    def __str__(self) -> str:
        return f"Summary of {self.page}"


class Field(models.Model):
    """Something that was found in a document: a date, an amount, a name, a reference."""

    document = models.ForeignKey(Document, models.CASCADE, related_name="fields")
    name = models.CharField(max_length=20)
    text = models.CharField(max_length=500)

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"
