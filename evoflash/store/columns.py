"""Column types whose values round-trip exactly on every database."""

import contextlib
import math
import struct
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import JSON, DateTime, Dialect, Double, LargeBinary, Text, TypeDecorator
from sqlalchemy.dialects.mysql import MEDIUMTEXT

_NO_INFINITY = ("mysql", "mariadb")
_Value = TypeVar("_Value")


class DamageError(Exception):
    """A stored value that nothing writes, such as half a JSON document; the message says what is wrong with it."""


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Around the conversion of one stored value, and nothing else: what fails there is damage, and no bug."""
    try:
        yield
    except (TypeError, ValueError, struct.error) as error:
        raise DamageError(str(error)) from error


class LongText(TypeDecorator[str]):
    """Source text, reasons and compiler logs.

    MySQL's TEXT is limited to 64 KiB. PostgreSQL's takes no NUL, which a broken kernel may print: it becomes U+FFFD.
    """

    impl = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        return value.replace("\0", "\ufffd") if value and dialect.name == "postgresql" else value


class Decoded(TypeDecorator[_Value]):
    """A type whose values from the database may be damaged, since SQLite stores values of any type in any column.

    Reading such a value raises DamageError.
    """

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[..., Any] | None:
        """The conversion from the database."""
        convert = super().result_processor(dialect, coltype)
        if convert is None:
            return None

        def decoded(value: Any) -> Any:
            with decoding():
                return convert(value)

        return decoded


class Json(Decoded[Any]):
    """A JSON document, as SQLAlchemy's `JSON`."""

    impl = JSON
    cache_ok = True


class Number(Decoded[float]):
    """A float that is never missing and may be NaN or infinite.

    SQL has no NaN (SQLite binds it as NULL), so NULL represents NaN. MySQL has no infinity, so the largest float
    represents it.
    """

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """To the database."""
        if value is None or math.isnan(value):
            return None
        if math.isinf(value) and dialect.name in _NO_INFINITY:
            return math.copysign(sys.float_info.max, value)
        return value

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        """From the database."""
        if value is None:
            return math.nan
        if abs(value) == sys.float_info.max and dialect.name in _NO_INFINITY:
            return math.copysign(math.inf, value)
        return float(value)


class Samples(Decoded[tuple[float, ...]]):
    """A tuple of floats, stored as little-endian doubles: exact, and less than half the size of text."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: tuple[float, ...] | None, dialect: Dialect) -> bytes:
        """To the database."""
        samples = value or ()
        return struct.pack(f"<{len(samples)}d", *samples)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> tuple[float, ...]:
        """From the database."""
        packed = value or b""
        return struct.unpack(f"<{len(packed) // 8}d", packed)


class Instant(Decoded[datetime]):
    """A UTC time; stored without a time zone, since SQLite has none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return value.replace(tzinfo=UTC) if value is not None else None
