"""A route of the API: its path, parameters and handler."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..world import Object, World
from .form import Parser

ID = "<id>"


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


class RouteTable:
    """Finds the route for a request. Bottle compiles all of a method's routes anew for each one that is added, which
    took half of a simulator's start."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._static: dict[tuple[str, str], Route] = {}
        self._dynamic: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        for route in routes:
            parts = route.path.split("/")
            if ID in parts:
                self._dynamic.setdefault((route.method, len(parts)), []).append((parts, route))
            else:
                self._static[route.method, route.path] = route

    def find(self, method: str, path: str) -> tuple[Route | None, list[str]]:
        """Return the route and the path's ids, or None. A path without ids wins."""
        if static := self._static.get((method, path)):
            return static, []
        given = path.split("/")
        for parts, route in self._dynamic.get((method, len(given)), ()):
            pairs = list(zip(parts, given, strict=True))
            if all(part == value or (part == ID and value) for part, value in pairs):
                return route, [value for part, value in pairs if part == ID]
        return None, []
