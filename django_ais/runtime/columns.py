"""Values as SQL: the INSERT of rows and the SET of assignments, whose text is made once for each shape of row.

A row is a mapping of attribute names to values, or to `Raw` pieces of SQL. Two rows with the same names and pieces have
the same text, so that a database that prepares statements sees few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from django_ais.models import JobPacket
from django_ais.runtime.database import Raw, connection, execute, table

Shape = tuple[tuple[str, str | None], ...]
Prepare = Callable[[Any], Any]

IGNORE = " ON CONFLICT DO NOTHING"  # the ending of an insert that leaves existing rows alone

PLAIN = (str, int, type(None))
PLAIN_FIELDS = (models.CharField, models.TextField, models.IntegerField)


def insert(model: type[models.Model], rows: Sequence[Mapping[str, Any]], *, ending: str = "") -> int:
    """Insert rows given as attribute names and values, defaults filled in; one statement for at most 500 rows.

    ``ending`` says what to do about rows that exist already.
    """
    done = 0
    limit = _rows_a_statement(model)
    for start in range(0, len(rows), limit):
        done += execute(*insertion(model, rows[start : start + limit], ending=ending))
    return done


def _rows_a_statement(model: type[models.Model]) -> int:
    most = connection().features.max_query_params
    return min(500, most // len(model._meta.concrete_fields)) if most else 500


def insertion(
    model: type[models.Model], rows: Sequence[Mapping[str, Any]], *, ending: str = "", source: str = ""
) -> Raw:
    """The INSERT of rows, as SQL; see `insert`. With ``source`` it happens once for each row that this FROM gives."""
    current = connection()
    groups: list[str] = []
    params: list[Any] = []
    for row in rows:
        text, places = _group(model, current.vendor, _shape(row), bool(source))
        groups.append(text)
        _take(params, row, places, current)
    if source:
        values = " UNION ALL ".join([f"SELECT {group} FROM {source}" for group in groups])
    else:
        values = f"VALUES ({'), ('.join(groups)})"
    return Raw(f"INSERT INTO {table(model)} ({_names(model, current.vendor)}) {values}{ending}", tuple(params))


def assignments(values: Mapping[str, Any]) -> Raw:
    """``column = value, ...`` for job columns given by attribute name."""
    current = connection()
    text, places = _sets(current.vendor, _shape(values))
    params: list[Any] = []
    _take(params, values, places, current)
    return Raw(text, tuple(params))


def job_columns() -> str:
    """All columns of a job, for RETURNING: a star would change what a prepared statement gives when a column comes."""
    return _names(JobPacket, connection().vendor)


def _shape(row: Mapping[str, Any]) -> Shape:
    return tuple([(name, value.text if type(value) is Raw else None) for name, value in row.items()])


Place = tuple[str, Any, bool]  # attribute, its field unless it is a Raw piece, whether plain values go as they are


def _take(params: list[Any], row: Mapping[str, Any], places: Sequence[Place], current: BaseDatabaseWrapper) -> None:
    """Append what the places of a text ask for."""
    for name, field, is_plain in places:
        value = row[name]
        if field is None:
            params.extend(value.params)
        elif is_plain and (type(value) in PLAIN or (type(value) is UUID and current.features.has_native_uuid_field)):
            params.append(value)
        else:
            params.append(field.get_db_prep_save(value, connection=current))


@cache
def _names(model: type[models.Model], vendor: str) -> str:
    quote = connection().ops.quote_name
    return ", ".join(quote(str(field.column)) for field in _fields(model))


def _fields(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    return [field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)]


@cache
def _group(model: type[models.Model], vendor: str, shape: Shape, typed: bool) -> tuple[str, tuple[Place, ...]]:
    """The values of one row as SQL, and where its parameters come from. What the row leaves out stands in the text."""
    given = dict(shape)
    pieces: list[str] = []
    places: list[Place] = []
    for field in _fields(model):
        if field.attname not in given:
            pieces.append(_cast(_literal(field), field, typed))
        elif (raw := given[field.attname]) is not None:
            pieces.append(raw)
            places.append((field.attname, None, False))
        else:
            pieces.append(_cast("%s", field, typed))
            places.append((field.attname, field, _is_plain(field)))
    return ", ".join(pieces), tuple(places)


@cache
def _sets(vendor: str, shape: Shape) -> tuple[str, tuple[Place, ...]]:
    fields = {field.attname: field for field in JobPacket._meta.concrete_fields}
    pieces: list[str] = []
    places: list[Place] = []
    for name, raw in shape:
        field = fields[name]
        pieces.append(f"{field.column} = {'%s' if raw is None else raw}")
        places.append((name, field if raw is None else None, _is_plain(field)))
    return ", ".join(pieces), tuple(places)


def _is_plain(field: models.Field[Any, Any]) -> bool:
    """Whether text, numbers and native UUIDs go to the driver as they are."""
    target = getattr(field, "target_field", field)
    return isinstance(target, PLAIN_FIELDS) or (isinstance(target, models.UUIDField) and target.model is JobPacket)


def _literal(field: models.Field[Any, Any]) -> str:
    """A field's default, which is ours and holds no quote, as SQL."""
    default = field.get_default()
    if default is None:
        return "NULL"
    if isinstance(default, int):
        return str(int(default))
    return "'{}'" if default == {} else f"'{default}'"


def _cast(text: str, field: models.Field[Any, Any], typed: bool) -> str:
    kind = str(field.db_type(connection())) if typed else ""
    return f"{text}::{kind}" if kind and "char" not in kind else text  # a cast to varchar(n) would cut
