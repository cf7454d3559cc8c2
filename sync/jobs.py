"""Recurring work that several processes share: each due run is claimed by one of them."""

from .. import storage
from ..models import Cursor
from .pauses import is_due


def claim(name: str, now: float, every_seconds: float) -> bool:
    """Claim the run that is due, and set the next one; return whether it was ours to claim."""
    cursor = Cursor.get_or_none(Cursor.name == name)
    if cursor is None:
        with storage.writing():
            Cursor.insert(name=name).on_conflict_ignore().execute()
        cursor = Cursor.get_by_id(name)
    if not is_due(cursor.next_run_at, now, every_seconds):
        return False
    return _move(cursor, now + every_seconds)


def make_due(name: str, at: float) -> None:
    """Have the next run no later than at this time."""
    with storage.writing():
        Cursor.update(next_run_at=at).where(Cursor.name == name, Cursor.next_run_at > at).execute()


def next_run_at(name: str, now: float, every_seconds: float) -> float:
    """Return when the work is next due; 0 when it never ran."""
    cursor = Cursor.get_or_none(Cursor.name == name)
    moment = 0.0 if cursor is None else cursor.next_run_at
    return min(moment, now) if is_due(moment, now, every_seconds) else moment


def position(name: str) -> int:
    """Tell how far the work has come; 0 when it never began."""
    cursor = Cursor.get_or_none(Cursor.name == name)
    return 0 if cursor is None else cursor.position


def save_position(name: str, position: int) -> None:
    """Remember how far the work has come."""
    with storage.writing():
        Cursor.insert(name=name, position=position).on_conflict(
            conflict_target=[Cursor.name], update={"position": position}
        ).execute()


def _move(cursor: Cursor, next_run_at: float) -> bool:
    with storage.writing():
        moved = (
            Cursor.update(next_run_at=next_run_at)
            .where(Cursor.name == cursor.name, Cursor.next_run_at == cursor.next_run_at)
            .execute()
        )
    return bool(moved)
