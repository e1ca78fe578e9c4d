"""The names that stand in paths and queries, as the ledger spells them."""

from typing import Annotated

from pydantic import Field

Code = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9_-]{1,63}$", examples=["GBR"], description="A party's code")]
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", examples=["drone-coalition"])]
Capability = Annotated[
    str, Field(pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$", max_length=100, examples=["drone", "drone.fpv"])
]
Unit = Annotated[str, Field(pattern=r"^(piece|[A-Z]{3})$", examples=["piece", "EUR"])]
Limit = Annotated[int, Field(ge=1, le=1000, description="The most items of one answer")]
Cursor = Annotated[
    str, Field(max_length=400, pattern=r"^[A-Za-z0-9_-]*$", description="Where the answer before this one ended")
]
