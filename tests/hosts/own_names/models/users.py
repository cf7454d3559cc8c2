"""The host's users, who stay while the process lives."""

import secrets

_sessions = {}


def begin_session(name):
    key = secrets.token_urlsafe()
    _sessions[key] = name
    return key


def named(key):
    return _sessions.get(key)
