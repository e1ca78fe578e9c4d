"""The sources that the examples of the documentation cite."""

from typing import Any, Final

SOURCES: Final[list[Any]] = [
    {"url": "https://example.org/news/drones", "publisher": "Example", "published_on": "2024-02-15"}
]
