"""A route of the API: where it is, what it takes, and what carries it out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..world import Object, World
from .form import Kind


@dataclass(frozen=True, slots=True)
class Route:
    """`handle(world, params, *ids)` gets the checked parameters and the ids that stand in the path as `<id>`."""

    method: str
    path: str
    handle: Callable[..., Object]
    takes: Mapping[str, Kind] = field(default_factory=dict)
    required: tuple[str, ...] = ()


def retrieving(kind: str, path: str) -> Route:
    """GET one object by its id."""

    def retrieve(world: World, _params: dict[str, Any], object_id: str) -> Object:
        return world.get(kind, object_id)

    return Route("GET", f"{path}/<id>", retrieve)
