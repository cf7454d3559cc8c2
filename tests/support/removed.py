"""The guards of the code, each with the text that removes it and the tests that must notice."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from repository import ROOT, tracked

SECONDS = 400


class Guard(NamedTuple):
    """A guard: its text in one file, once, and what stands there without it."""

    name: str
    file: str
    text: str
    without: str
    tests: str
    options: str = "not postgresql"


GUARDS = (
    Guard("webhook: signature", "gateway/signature.py",
          "if not any(_is_signed(signed, signatures, secret) for secret in secrets):", "if not signatures:",
          "test_webhook.py::test_wrong_secret_is_refused"),
    Guard("webhook: age of the signature", "gateway/signature.py",
          "if abs(age) > SIGNATURE_AGE_SECONDS:", "if age < -SIGNATURE_AGE_SECONDS:",
          "test_webhook.py::test_a_signature_passes_up_to_300_seconds_old_or_ahead"),
    Guard("webhook: signature from the future", "gateway/signature.py",
          "if abs(age) > SIGNATURE_AGE_SECONDS:", "if age > SIGNATURE_AGE_SECONDS:",
          "test_webhook.py::test_a_signature_passes_up_to_300_seconds_old_or_ahead"),
    Guard("webhook: an event of the other mode", "handlers/webhook.py",
          "if event.livemode != service.config.livemode:", "if False:",
          "test_webhook.py::test_an_event_of_another_mode_or_account_gets_a_200_and_no_effect"),
    Guard("webhook: an event of a connected account", "handlers/webhook.py",
          'if event.account and event.account != setting("account"):', "if False:",
          "test_webhook.py::test_an_event_of_another_mode_or_account_gets_a_200_and_no_effect"),
    Guard("inbox: a duplicate is not stored again", "sync/inbox.py",
          "WHERE true\nON CONFLICT DO NOTHING", "WHERE true\nON CONFLICT (id) DO UPDATE SET applied_at = NULL",
          "test_webhook.py::test_an_event_delivered_again_after_it_was_applied_stays_applied"),
    Guard("inbox: seconds before an event is old news", "sync/inbox.py",
          "CERTAIN_SECONDS = 2 ", "CERTAIN_SECONDS = 0 ",
          "test_events_of_every_kind.py::TestOldNews::test_created_one_second_before_the_fetch_is_fetched"),
    Guard("inbox: a lease keeps others off", "sync/inbox.py",
          "{_IS_DUE}\n    ORDER BY id LIMIT ?\n)", "{_IS_DUE}\n    ORDER BY id LIMIT ?\n) AND false",
          "test_worker.py::test_a_leased_customer_is_skipped_until_the_lease_ends"),
    Guard("converge: compare-and-set", "sync/converge.py",
          "fetched_at = ? WHERE id = ? AND revision = ?", "fetched_at = ? WHERE id = ? AND revision >= ? - 1000",
          "test_converge.py::test_an_overtaken_fetch_is_repeated_and_never_stored"),
    Guard("converge: a link by hand overtakes", "sync/converge.py",
          "Customer.update(revision=Customer.revision + 1)", "Customer.update(revision=Customer.revision)",
          "test_converge.py::test_a_fetch_in_flight_does_not_undo_a_link_made_by_hand "
          "test_converge.py::test_a_link_made_by_hand_survives_a_fetch_in_flight"),
    Guard("converge: the mark of another app", "sync/converge.py",
          "return customer.user_id if customer.app == self.app and is_user_id(customer.user_id) else None",
          "return customer.user_id if is_user_id(customer.user_id) else None",
          "test_app_name.py::test_two_products_on_two_ports_of_a_host_do_not_let_in_each_others_users"),
    Guard("visitors: cross-site requests", "handlers/origins.py",
          'elif site != "same-origin" and not is_known_origin(origin, config):', "elif False:",
          "test_abuse.py::test_a_form_on_another_site_is_refused_even_when_signed_in"),
    Guard("visitors: a POST without Origin", "handlers/origins.py",
          'startswith("bearer "):', 'startswith(""):',
          "test_abuse.py::test_a_browser_form_without_origin_is_refused"),
    Guard("servers' routes: no browsers", "handlers/origins.py",
          "if origin is not None or site is not None:", "if False:",
          "test_use_route.py::test_no_page_may_use_whosever_it_is"),
    Guard("operator: cross-site requests", "handlers/origins.py",
          'if site != "same-origin" and (site is not None or not (is_here or origin in own)):', "if False:",
          "test_admin.py::test_a_post_from_any_other_page_even_the_products_does_nothing"),
    Guard("operator: token", "admin/session.py",
          "return _is_same(shown, config.admin_token)", "return bool(shown)",
          "test_admin.py::test_a_wrong_token_opens_nothing_and_is_not_echoed"),
    Guard("operator: signature of the cookie", "admin/session.py",
          '_is_same(signature, _signature(config, "session", unsigned))', "True",
          "test_admin.py::test_a_session_ends_after_eight_hours_or_when_the_token_changes"),
    Guard("operator: end of the cookie", "admin/session.py",
          "now < int(found[1]) <= now + LASTS_SECONDS", "True",
          "test_admin.py::test_a_session_ends_after_eight_hours_or_when_the_token_changes"),
    Guard("operator: token of the form (CSRF)", "admin/session.py",
          "if not _is_same(token, form_token(config, session)):", "if not session:",
          "test_admin.py::test_a_post_without_the_sessions_csrf_token_does_nothing"),
    Guard("proxies: the header with the user comes from a trusted one", "identity.py",
          "if not is_among(address_of(peer), self.proxies):", "if not peer:",
          "test_trusted_header.py::test_only_trusted_addresses_may_name_the_user"),
    Guard("proxies: the visitor's address comes from a trusted one", "addresses.py",
          "while named and is_among(client, proxies):", "while len(named) > 1 or named[0]:",
          "test_addresses.py::test_a_stranger_names_no_address"),
    Guard("proxies: what a server hands on of them", "server/serve.py",
          "environ.pop(name, None)", "environ.get(name, None)",
          "test_addresses.py::test_serve_hands_on_nothing_else_that_a_proxy_says_of_our_address"),
    Guard("commands: no control that a stranger chose", "terminal.py",
          "_ODD.sub(lambda found: found[1] or visible(found[0]), text)", "text",
          "test_hostile_names.py::test_whatever_a_command_prints_holds_no_control_but_line_ends_tabs_and_our_colours"),
    Guard("tokens: algorithm", "identity.py", 'algorithms=["HS256"]', 'algorithms=["HS256", "HS512"]',
          "test_identity.py::test_a_forged_token_is_refused_and_not_logged "
          "test_abuse.py::test_a_forged_token_opens_nothing"),
    Guard("tokens: audience", "identity.py",
          "claims = _claims(token, secrets, audience)", "claims = _claims(token, secrets, [AUDIENCE, SERVER_AUDIENCE])",
          "test_use_route.py::test_a_visitors_own_token_may_not_use_and_a_servers_opens_nothing_else"),
    Guard("tokens: end", "identity.py", "if not expires > now - LEEWAY_SECONDS:", "if not expires > 0:",
          "test_identity.py::test_a_token_expired_or_too_far_ahead_is_refused"),
    Guard("tokens: longest lifetime", "identity.py",
          "if expires > now + LONGEST_TOKEN_SECONDS + LEEWAY_SECONDS:", "if False:",
          "test_identity.py::test_a_token_expired_or_too_far_ahead_is_refused"),
    Guard("tokens: not valid yet", "identity.py",
          "if not all(each <= now + LEEWAY_SECONDS for each in begins):", "if False:",
          "test_identity.py::test_clocks_may_differ_by_a_minute "
          "test_identity.py::test_a_token_with_a_claim_missing_or_wrong_is_refused"),
    Guard("payers: a payer's id has the prefix", "identity.py",
          "if self.payer_id != self.user_id and not (prefix and self.payer_id.startswith(prefix)):", "if False:",
          "test_selling.py::test_users_and_payers_are_never_mistaken_for_each_other"),
    Guard("payers: a user's id lacks the prefix", "identity.py",
          "if prefix and self.user_id.startswith(prefix):", "if False:",
          "test_selling.py::test_users_and_payers_are_never_mistaken_for_each_other"),
    Guard("members: may_buy at checkout and portal", "service.py",
          "    if not identity.is_buyer:\n        raise MayNotBuy", "    if False:\n        raise MayNotBuy",
          "test_selling.py::test_a_member_buys_nothing_and_sees_no_price_no_invoice_and_no_cancellation"),
    Guard("members: what an account page shows", "handlers/pages.py",
          "    if not identity.is_buyer:\n        access = for_member", "    if False:\n        access = for_member",
          "test_selling.py::test_a_member_buys_nothing_and_sees_no_price_no_invoice_and_no_cancellation"),
    Guard("members: what /access shows", "handlers/access.py",
          "(access if identity.is_buyer else for_member(access))", "access",
          "test_selling.py::test_a_member_buys_nothing_and_sees_no_price_no_invoice_and_no_cancellation"),
    Guard("return: to the product's addresses only", "handlers/returning.py",
          "to if to in service.config.frontend_urls else service.config.frontend_url",
          "to or service.config.frontend_url",
          "test_abuse.py::test_return_redirects_only_to_the_product"),
    Guard("notices: redirects are not followed", "notices/webhook.py",
          "with adapter.send(posted,", "with session.send(posted,",
          "test_endpoint.py::test_any_2xx_accepts_and_all_else_is_retried_with_the_same_id"),
    Guard("usage: the limit is a condition of the UPDATE", "selling/counting.py",
          "AND starts_at = ? AND used + ? <= ?", "AND starts_at = ? AND used + ? <= ? + 1000000",
          "test_usage.py::test_a_use_is_true_only_where_it_was_allowed"),
    Guard("usage: the first use of a window fits as a whole", "selling/counting.py",
          "if from_limit + sum(from_credit) < wish.amount:", "if False:",
          "test_usage.py::test_a_use_is_true_only_where_it_was_allowed"),
    Guard("usage: a key counts once", "selling/counting.py",
          "    if known is not None:\n        return _answer(", "    if False:\n        return _answer(",
          "test_usage.py::test_a_key_counts_once_and_returns_the_same"),
    Guard("usage: at least one", "selling/counting.py", "1 <= amount <= MOST_AT_ONCE", "amount <= MOST_AT_ONCE",
          "test_usage.py::test_an_amount_is_a_whole_number_from_one"),
    Guard("SQLite: fsync at each commit", "storage/sqlite.py", '("synchronous", "full")', '("synchronous", "normal")',
          "test_database.py::test_the_file_is_durable_and_strict"),
    Guard("SQLite: BEGIN IMMEDIATE", "storage/sqlite.py", 'execute("BEGIN IMMEDIATE")', 'execute("BEGIN")',
          "test_races.py::test_two_customers_of_a_user_converge_at_once_and_both_count "
          "test_processes.py::test_concurrent_processes_apply_everything_once"),
    Guard("PostgreSQL: the writers' advisory lock", "storage/postgresql.py",
          '_LOCK_ALL = f"SELECT pg_advisory_xact_lock((', '_LOCK_ALL = f"SELECT ((',
          "test_races.py::test_two_customers_of_a_user_converge_at_once_and_both_count", "postgresql"),
    Guard("PostgreSQL: the lock of one user's uses", "storage/postgresql.py",
          'f"SELECT pg_advisory_xact_lock({_KEY}, {{number}})"', 'f"SELECT {_KEY}, {{number}}"',
          "test_usage_races.py::test_eight_threads_never_pass_the_limit_nor_count_a_key_twice", "postgresql"),
)  # fmt: skip


def without(guard: Guard) -> str:
    """Return the file's text without the guard.

    Errors  ValueError where the guard's text does not stand there exactly once
    """
    text = (ROOT / guard.file).read_text("utf-8")
    if text.count(guard.text) != 1:
        raise ValueError(f"{guard.name}: stands {text.count(guard.text)} times in {guard.file}")
    return text.replace(guard.text, guard.without)


@contextmanager
def copied() -> Iterator[Path]:
    """Copy the tree; return the folder through which the copy is found as `corkage`."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "link"
        for path in tracked("*"):
            (link.parent / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, link.parent / "tree" / path)
        link.mkdir()
        (link / "corkage").symlink_to(link.parent / "tree")
        yield link


def first_failure(guard: Guard, link: Path) -> str | None:
    """Play the guard's tests in a copy of the tree without it; return the test that fails first, None if none does."""
    copy = (link / "corkage").resolve()
    try:
        (copy / guard.file).write_text(without(guard), "utf-8")
        return _failed(copy, guard, link)
    finally:
        shutil.copy2(ROOT / guard.file, copy / guard.file)


def _failed(copy: Path, guard: Guard, link: Path) -> str | None:
    files = [f"tests/{each}" for each in guard.tests.split()]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", guard.options]
    played = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(link)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    found = re.search(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*)?(?: - .*)?$", played.stdout, re.MULTILINE)
    if played.returncode not in (0, 1) or (played.returncode == 1 and found is None):
        raise RuntimeError(f"{guard.name}: {played.stdout[-2000:]}{played.stderr[-2000:]}")
    return found[1].removeprefix("tests/") if found else None
