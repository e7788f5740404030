"""Tables as Flink sees them, derived from the records, so that no column is written down twice."""

from collections.abc import Iterable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields

_SQL: Final = {str: "STRING", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", bytes: "BYTES"}


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        name: as the views use it.
        sql_type: Flink's type.
        metadata: the connector's key, where it is no field of the record.
        virtual: whether a sink leaves it out.
    """

    name: str
    sql_type: str
    metadata: str | None = None
    virtual: bool = False


def columns(struct: type[Struct]) -> list[Column]:
    """Derive the columns of a record from its fields; lists, tables and records inside it travel as JSON.

    Raises:
        TypeError: a field's type has no column type.

    >>> class Click(Struct):
    ...     user_id: str
    ...     at: int
    ...     depth: float | None = None
    ...     tags: list[str] = []
    >>> [tuple(column[:2]) for column in columns(Click)]
    [('user_id', 'STRING'), ('at', 'BIGINT'), ('depth', 'DOUBLE'), ('tags', 'STRING')]
    """
    return [Column(field.name, _sql_type(field.type, f"{struct.__name__}.{field.name}")) for field in fields(struct)]


def ddl(
    name: str,
    columns: Iterable[Column],
    options: Mapping[str, str],
    *,
    watermark: tuple[str, str] | None = None,
) -> str:
    """Write the statement that declares a table to Flink.

    Args:
        name: of the table.
        columns: in order; those with a metadata key come from the connector.
        options: of the connector.
        watermark: the column of event time, and the SQL expression of its watermark.

    >>> place = Column("offset", "BIGINT", metadata="offset", virtual=True)
    >>> print(ddl("clicks", [Column("body", "BYTES"), place], {"connector": "kafka", "topic": "it's"}))
    CREATE TEMPORARY TABLE `clicks` (
      `body` BYTES,
      `offset` BIGINT METADATA FROM 'offset' VIRTUAL
    ) WITH (
      'connector' = 'kafka',
      'topic' = 'it''s'
    )
    >>> print(ddl("t", [Column("at", "TIMESTAMP_LTZ(3)")], {"connector": "datagen"}, watermark=("at", "`at`")))
    CREATE TEMPORARY TABLE `t` (
      `at` TIMESTAMP_LTZ(3),
      WATERMARK FOR `at` AS `at`
    ) WITH (
      'connector' = 'datagen'
    )
    """
    lines = [_declared(column) for column in columns]
    if watermark:
        lines.append(f"WATERMARK FOR {_name(watermark[0])} AS {watermark[1]}")
    return (
        f"CREATE TEMPORARY TABLE {_name(name)} ({_lines(lines)}) "
        f"WITH ({_lines(f'{_text(key)} = {_text(value)}' for key, value in options.items())})"
    )


def _sql_type(annotation: Any, place: str) -> str:
    if get_origin(annotation) is Annotated:
        return _sql_type(get_args(annotation)[0], place)
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        if len(members) == 1:
            return _sql_type(members[0], place)
    kind = get_origin(annotation) or annotation
    if kind in _SQL:
        return _SQL[kind]
    if kind in (list, dict) or (isinstance(kind, type) and issubclass(kind, Enum | Struct)):
        return "STRING"
    raise TypeError(f"{place}: {annotation} has no column type; use str, int, float, bool, bytes, or what is JSON")


def _declared(column: Column) -> str:
    origin = f" METADATA FROM {_text(column.metadata)}" if column.metadata else ""
    return f"{_name(column.name)} {column.sql_type}{origin}{' VIRTUAL' if column.virtual else ''}"


def _lines(lines: Iterable[str]) -> str:
    return "\n  " + ",\n  ".join(lines) + "\n"


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
