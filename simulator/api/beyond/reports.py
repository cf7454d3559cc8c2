"""Report runs. They succeed at once, and their result is no file: the simulator has none."""

from typing import Any

from ...http import form, lists
from ...http.form import integer, nested, text
from ...http.route import Route, retrieve_route
from ...world import Object, World

PATH = "/v1/reporting/report_runs"


def create_run(world: World, params: dict[str, Any]) -> Object:
    run = {
        "id": world.new_id("reporting.report_run"),
        "object": "reporting.report_run",
        "created": world.now,
        "error": None,
        "livemode": False,
        "parameters": params.get("parameters", {}),
        "report_type": params["report_type"],
        "result": None,
        "status": "succeeded",
        "succeeded_at": world.now,
    }
    world.add("reporting.report_run", run)
    world.emit("reporting.report_run.succeeded", run)
    return run


def list_runs(world: World, params: dict[str, Any]) -> Object:
    return lists.page(world.all("reporting.report_run"), params, PATH)


ROUTES = (
    Route(
        "POST",
        PATH,
        create_run,
        {
            "parameters": nested({"currency": text, "interval_end": integer, "interval_start": integer}),
            "report_type": text,
        },
        required=("report_type",),
    ),
    retrieve_route("reporting.report_run", PATH),
    Route("GET", PATH, list_runs, form.LIST | {"created": form.created}),
)
