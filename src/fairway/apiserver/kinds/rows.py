"""The form of one entry in the table of kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fairway.apiserver.kinds.base import Strategy
from fairway.apiserver.request import Json
from fairway.apiserver.tables import Column


class Views(NamedTuple):
    """The stored form of a kind that is another group's or version's, and the ways there and back."""

    key: str
    to_storage: Callable[[Json], Json]
    from_storage: Callable[[Json], Json]


class Row(NamedTuple):
    """One entry; what it leaves out is what most kinds have."""

    type_key: str
    plural: str
    group: str = ""
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    strategy: type[Strategy] = Strategy
    cells: tuple[Column, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    version: str = "v1"
    views: Views | None = None  # how one kind is seen in two groups or versions
