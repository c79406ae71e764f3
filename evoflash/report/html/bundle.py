"""The page's compressed payload. Browsers decompress gzip themselves, so plotly.js takes 2 MB of a file and not 5."""

from __future__ import annotations

import base64
import functools
import gzip
import importlib.resources
from typing import Any

import pydantic_core


def packed(document: Any) -> str:
    """A JSON document, compressed, as base64 text; NaN and infinities become null."""
    return _packed(pydantic_core.to_json(document, inf_nan_mode="null", fallback=str))


@functools.cache
def plotly_js() -> str:
    """The plotly.js that the installed package brings, compressed, as base64 text."""
    return _packed((importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes())


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
