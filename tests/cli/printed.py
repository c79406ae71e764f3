"""What a command printed for `--json`, checked against its schema."""

import json
from typing import Any

import jsonschema
import pytest

from tests import json_page


def finite_or_null(_: Any, value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


# NaN and infinities are null wherever a number is said.
Checker = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("number", finite_or_null),
)


def printed(command: str, text: str) -> Any:
    """The object, if it is strict JSON and as its schema says."""
    document = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not strict JSON"))
    schema = json_page.schema(json_page.DOCUMENTS[command])
    Checker(schema).validate(document)
    assert document.keys() == schema["properties"].keys()
    return document
