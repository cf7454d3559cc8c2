"""A route of the API: its path, parameters and handler."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..world import Object, World
from .form import Parser


@dataclass(frozen=True, slots=True)
class Route:
    """`handle(world, params, *ids)` is called with the parsed parameters and the path's `<id>`s."""

    method: str
    path: str
    handle: Callable[..., Object]
    params: Mapping[str, Parser] = field(default_factory=dict)
    required: tuple[str, ...] = ()


def retrieve_route(kind: str, path: str) -> Route:
    """Return the route that retrieves one object by its id."""

    def retrieve(world: World, _params: dict[str, Any], object_id: str) -> Object:
        return world.get(kind, object_id)

    return Route("GET", f"{path}/<id>", retrieve)
