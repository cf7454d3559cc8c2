"""Translations: one catalogue, complete in every language, with amounts and dates in local form."""

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from babel import Locale
from babel.messages.pofile import read_po

import corkage
from corkage.access import REASONS, Access
from corkage.errors import PaymentRequired
from corkage.pages import catalogues, colors, state, words
from corkage.pages.account import ACTIONS
from corkage.pages.currencies import THREE_DECIMAL, ZERO_DECIMAL
from corkage.pages.refusal import describe_refusal
from corkage.pages.words import ALWAYS_00, money, period


def loaded(path):
    """Import a script of bin/, which has no .py."""
    loader = SourceFileLoader(path.name, str(path))
    module = module_from_spec(spec_from_loader(path.name, loader))
    loader.exec_module(module)
    return module


catalogue = loaded(Path(corkage.__file__).parent / "bin/catalogue")
LANGUAGES = ("de", "es", "fr", "ja")
VIEWS = sorted((catalogue.ROOT / "pages/templates").glob("*.html"))


def in_language(tag):
    return words.choose(tag, "")


def plain(text):
    """With ordinary blanks."""
    return text.replace("\u00a0", " ").replace("\u202f", " ")


def po(language):
    with (catalogue.LOCALE / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


def test_there_are_five_languages():
    assert tuple(catalogues.languages()) == ("en", *LANGUAGES)


@pytest.mark.parametrize("language", ["", *LANGUAGES])
def test_the_catalogue_holds_exactly_the_messages_in_the_code(language):
    wanted = catalogue.template()
    if language:
        held = po(language)
    else:
        with (catalogue.LOCALE / "corkage.pot").open("rb") as file:
            held = read_po(file)

    assert {each.id for each in held} == {each.id for each in wanted}, "run `python bin/catalogue`"


def placeholders(text):
    return sorted(re.findall(r"%\(\w+\)\w|%.", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_plural_and_placeholder_is_translated(language):
    held = po(language)

    assert catalogue.untranslated(held) == []
    for message in held:
        original = catalogue.texts(message.id)[-1]
        assert not message.fuzzy
        for text in catalogue.texts(message.string) if message.id else ():
            assert placeholders(text) == placeholders(original), text
            assert text.endswith((".", "\u3002")) == original.endswith("."), text
        if isinstance(message.id, tuple):
            assert len(message.string) == held.num_plurals


@pytest.mark.parametrize("view", VIEWS, ids=lambda path: path.name)
def test_every_text_of_a_template_is_in_the_catalogue(view):
    text = view.read_text("utf-8")
    bare = re.sub(r"^%.*$|\{\{.*?\}\}|<!doctype html>|&\w+;|\\\\$", "", text, flags=re.MULTILINE)
    said = re.sub(r"<[^>]*>", "", bare)
    spoken = re.findall(r'(?:alt|title|aria-label|placeholder)="([^"]*)"', bare)

    assert not re.search(r"\w", said), said
    assert not [each for each in spoken if re.search(r"\w", each)]


PO = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\nmsgid "Plans"\nmsgstr "{}"\n'


@pytest.mark.parametrize(
    ("files", "accepted", "said", "tag"),
    [
        (("pt_BR", "pt"), "pt-BR", "pt_BR", "pt-BR"),
        (("pt_BR", "pt"), "pt-PT", "pt", "pt-PT"),
        (("pt_BR",), "pt-PT, en;q=0.5", "Plans", "en"),
        (("pt-BR",), "pt-BR", "pt-BR", "pt-BR"),
        (("es_419", "es"), "es-MX", "es_419", "es-MX"),
        (("zh_Hant", "zh"), "zh-Hant", "zh_Hant", "zh-Hant"),
        (("zh_Hant", "zh"), "zh-TW", "zh_Hant", "zh-Hant-TW"),
        (("zh_TW", "zh"), "zh-Hant-TW", "zh_TW", "zh-Hant-TW"),
        (("zh_Hant", "zh"), "zh-CN", "zh", "zh-Hans-CN"),
        (("zh_Hans",), "zh", "zh_Hans", "zh"),
        (("zh",), "zh-TW, en;q=0.5", "Plans", "en"),
        (("zh_Hant",), "zh-Hant-XX", "zh_Hant", "zh-Hant"),
        (("sr",), "sr-Latn, en;q=0.5", "Plans", "en"),
        (("en_GB",), "en-GB", "en_GB", "en-GB"),
        (("no",), "nb", "no", "nb"),
        (("he",), "iw", "he", "he-IL"),
    ],
)
def test_the_nearest_catalogue_serves_a_region_and_none_in_another_script(tmp_path, files, accepted, said, tag):
    for name in files:
        (tmp_path / f"{name}.po").write_text(PO.format(name))

    chosen = words.choose(None, accepted, tmp_path)

    assert (chosen.gettext("Plans"), chosen.tag) == (said, tag)


def test_a_regional_catalogue_falls_back_message_by_message(tmp_path):
    (tmp_path / "fr_CA.po").write_text(PO.format("Forfaits"))
    (tmp_path / "fr.po").write_text(PO.format("Abonnements").replace("Plans", "Paid"))

    canadian = words.choose("fr-CA", "", tmp_path)

    assert [canadian.gettext(each) for each in ("Plans", "Paid", "Open")] == ["Forfaits", "Abonnements", "\u00c0 payer"]


@pytest.mark.parametrize(("tag", "direction"), [("ar", "rtl"), ("he-IL", "rtl"), ("fa", "rtl"), ("ja", "ltr")])
def test_a_language_has_its_direction(tmp_path, tag, direction):
    (tmp_path / f"{tag[:2]}.po").write_text(PO.format("x"))

    assert words.choose(tag, "", tmp_path).direction == direction


def test_what_is_left_in_english_keeps_its_order_in_a_text_from_right_to_left(tmp_path):
    (tmp_path / "ar.po").write_text(PO.format("\u0627"))
    arabic = words.choose("ar", "", tmp_path)

    assert arabic.gettext("Plans") == "\u0627"
    assert arabic.gettext("Signed in as %(who)s", who="ann") == "\u2068Signed in as ann\u2069"
    assert arabic.ngettext("%(count)d day free", "%(count)d days free", 2) == "\u20682 days free\u2069"
    assert arabic.gettext("") == ""
    assert money(arabic, 900, "usd") == "\u200f9.00\u00a0\u2068US$\u2069"
    assert in_language("en").gettext("Plans") == "Plans"


@pytest.mark.parametrize(
    ("amount", "currency", "tag", "long", "short"),
    [
        (900, "usd", "en", "$9.00", "$9"),
        (950, "usd", "en", "$9.50", "$9.50"),
        (123456789, "eur", "de", "1.234.567,89 \u20ac", "1.234.567,89 \u20ac"),
        (900, "eur", "fr", "9,00 \u20ac", "9 \u20ac"),
        (900, "jpy", "ja", "\uffe5900", "\uffe5900"),
        (900, "JPY", "en", "\u00a5900", "\u00a5900"),
        (9000, "kwd", "en", "KWD 9.000", "KWD 9"),
        (9500, "bhd", "en", "BHD 9.500", "BHD 9.500"),
        (500000, "ugx", "en", "UGX 5,000", "UGX 5,000"),
        (90000, "isk", "de", "900 ISK", "900 ISK"),
        (150050, "huf", "en", "HUF 1,500.50", "HUF 1,500.50"),
        (105050, "iqd", "en", "IQD 1,050.50", "IQD 1,050.50"),
        (900, "clp", "es", "900 CLP", "900 CLP"),
        (0, "usd", "en", "$0.00", "$0"),
        (-450, "usd", "en", "-$4.50", "-$4.50"),
        (1000, "chf", "en", "CHF 10.00", "CHF 10"),
        (-1000, "chf", "en", "-CHF 10.00", "-CHF 10"),
        (1000, "usd", "en-CA", "US$10.00", "US$10"),
        (1000, "zar", "en-ZA", "R 10,00", "R 10"),
        (1000, "sek", "ja", "SEK 10.00", "SEK 10"),
    ],
)
def test_amounts_in_minor_units_are_formatted_for_the_visitor(amount, currency, tag, long, short):
    assert plain(money(in_language(tag), amount, currency)) == long
    assert plain(money(in_language(tag), amount, currency, is_short=True)) == short


def test_a_currency_code_is_kept_on_the_line_of_its_amount():
    assert money(in_language("en"), 1000, "chf") == "CHF\u00a010.00"


def test_every_currency_of_stripe_with_other_decimals_is_known():
    assert len(ZERO_DECIMAL) == 15
    assert {"BHD", "JOD", "KWD", "OMR", "TND"} == THREE_DECIMAL
    assert {"ISK", "UGX"} == ALWAYS_00


def test_shortening_one_amount_does_not_shorten_the_next():
    assert money(in_language("en"), 900, "usd", is_short=True) == "$9"
    assert Locale("en").currency_formats["standard"].frac_prec == (2, 2)
    assert money(in_language("en"), 900, "usd") == "$9.00"


@pytest.mark.parametrize(
    ("interval", "count", "english", "german"),
    [
        ("month", 1, "per month", "pro Monat"),
        ("month", 3, "every 3 months", "alle 3 Monate"),
        ("year", 2, "every 2 years", "alle 2 Jahre"),
        ("week", 2, "every 2 weeks", "alle 2 Wochen"),
        ("day", 30, "every 30 days", "alle 30 Tage"),
        ("fortnight", 1, "", ""),
    ],
)
def test_intervals_follow_the_plural_rules_of_the_language(interval, count, english, german):
    assert period(in_language("en"), interval, count) == english
    assert period(in_language("de"), interval, count) == german


@pytest.mark.parametrize("tag", ["en", *LANGUAGES])
def test_every_reason_has_a_sentence_and_buttons_with_and_without_a_date(tag):
    said = set()
    for reason in REASONS:
        for allowed, moment in ((True, 1_780_531_200), (True, None), (False, None)):
            access = Access("ann", allowed, reason, until=moment, status="active")
            tone, sentence = state.state_of(access, moment, in_language(tag))
            assert tone in ("good", "note", "bad")
            assert sentence
            assert "%(" not in sentence
            said.add(sentence)
    assert set(REASONS) == set(state.STATES) == set(ACTIONS)
    assert len(said) > len(REASONS)


WAYS_OUT = {
    "active": ("pricing", ()),
    "canceling": ("pricing", ()),
    "grace": ("pricing", ()),
    "free": ("pricing", ()),
    "no_subscription": ("pricing", ()),
    "addon_only": ("pricing", ()),
    "past_due": ("portal", (("flow", "payment_method_update"),)),
    "unpaid": ("portal", (("flow", "payment_method_update"),)),
    "incomplete": ("checkout", (("plan", "pro"),)),
    "refunded": ("portal", (("flow", ""),)),
    "payment_pending": ("portal", (("flow", ""),)),
}


@pytest.mark.parametrize("reason", WAYS_OUT)
def test_every_refusal_has_its_sentence_and_its_way_out(config, reason):
    is_let_in = reason in ("active", "canceling", "grace")
    access = Access("ann", is_let_in, reason, plan="pro", status="active", until=1_780_531_200)

    refusal = describe_refusal(access, PaymentRequired.sentence, config.plans, in_language("en"))

    assert (refusal.action.route, refusal.action.fields) == WAYS_OUT[reason]
    assert refusal.action.is_main
    assert ("your plan does not include it" in refusal.sentence) == (is_let_in or reason == "free")
    assert ("canceled and ends on June 4, 2026" in refusal.sentence) == (reason == "canceling")
    assert ("payment failed" in refusal.sentence) == (reason in ("grace", "past_due"))
    assert refusal.title in ("This needs another plan", "This needs a plan", "You have no access at the moment")


def test_a_date_is_a_day_in_utc():
    assert in_language("en-GB").date(1_780_531_199) == "3 June 2026"
    assert in_language("en-GB").date(1_780_531_200) == "4 June 2026"
    assert in_language("de").date(1_780_531_200) == "4. Juni 2026"


def test_a_stale_answer_never_promises_a_date_in_the_past():
    stale = Access("ann", True, "active", until=1_780_531_200, status="active", stale=True)

    tone, sentence = state.state_of(stale, None, in_language("en"))

    assert tone == "note"
    assert sentence.startswith("Your plan was due to change on June 4, 2026.")


def test_an_expired_first_payment_is_worded_unlike_an_ended_plan():
    expired = Access("ann", False, "ended", status="incomplete_expired")

    assert "never began" in state.state_of(expired, 1_780_531_200, in_language("en"))[1]


@pytest.mark.parametrize(
    "color", ["#1d6b52", "#ffd400", "#0b1f4a", "#ffffff", "#000000", "#777777", "#ff0000", "#00e5ff"]
)
def test_every_brand_color_is_readable_on_light_and_dark(color):
    light, dark = (
        dict(part.split(":") for part in rule.split("{")[-1].split("}")[0].removeprefix("--").split(";--"))
        for rule in colors.color_rules(color).strip().splitlines()
    )

    for tokens, ground in ((light, colors.LIGHT), (dark, colors.DARK)):
        assert colors.contrast(tokens["accent-ink"], ground) >= 4.5
        assert colors.contrast(tokens["on-accent"], tokens["accent"]) >= 4.5
        assert colors.contrast(tokens["accent"], ground) >= 2


def test_a_readable_color_is_left_unchanged():
    assert "--accent:#1d6b52;--on-accent:#ffffff;--accent-ink:#1d6b52" in colors.color_rules("#1d6b52").splitlines()[0]


def test_contrast_is_measured_on_the_backgrounds_of_the_stylesheet():
    style = (catalogue.ROOT / "pages/templates/style.css").read_text()

    assert re.findall(r"--paper: (#\w+)", style) == [colors.LIGHT, colors.DARK]


def test_the_stylesheet_knows_no_left_and_right():
    style = (catalogue.ROOT / "pages/templates/style.css").read_text()

    assert re.findall(r"[\w-]*\b(?:left|right)\b[\w-]*:?", style) == []


def test_paused_collection_promises_no_payment_and_no_renewal():
    void = Access("ann", True, "collection_paused", until=1_780_531_200, status="active")

    paused, over, lacks_card = (
        state.state_of(each, None, in_language("en"))[1]
        for each in (
            void,
            Access("ann", False, "paused", status="active"),
            Access("ann", False, "paused", status="paused"),
        )
    )

    assert paused == "Payments for your plan are paused. You have access until June 4, 2026."
    assert over == "Your plan is paused, and nothing is charged. You have no access meanwhile."
    assert "payment method" not in over
    assert lacks_card == "Your plan is paused. Add a payment method to go on."
