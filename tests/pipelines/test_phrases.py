"""The words behind the accounts of a list, in each language."""

import pytest

from pipelines.report import LANGUAGES
from pipelines.report.formats import Formats
from pipelines.report.phrases import in_words_of
from pipelines.run import published_dir
from warehouse.publish import open_published


@pytest.mark.parametrize(
    ("facts", "language", "written"),
    [
        (
            "2 terms due, the first on 2026-03-01: 1200.75 USD a year; renews unless cancelled",
            "es",
            "2 plazos por vencer, el primero el 1 mar 2026: 1.201 US$ al año; se renueva salvo cancelación",
        ),
        (
            "300.00 USD a year past due; 1 payment unpaid after 2 failed attempts (card_declined, expired_card)",
            "pt",
            "US$ 300,00 por ano vencidos; 1 pagamento pendente após 2 tentativas falhas (card_declined, expired_card)",
        ),
        (
            "left (price) on 2026-03-01; paid 8123.18 USD a year, customer since 2025-04-24",
            "en",
            "left (price) on Mar 1, 2026; paid $8,123 a year, customer since Apr 24, 2025",
        ),
        ("health score 43.5 (red)", "es", "puntuación de salud 43,5 (roja)"),
        ("5000 JPY a year past due", "pt", "JP¥ 5.000 por ano vencidos"),
        ("what nobody has written", "es", "what nobody has written"),
    ],
)
def test_facts_are_written_as_the_reader_writes(facts, language, written):
    assert in_words_of(Formats(language, "USD"), facts).replace("\u00a0", " ") == written


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_no_account_of_the_sample_has_english_words(sample, language):
    with open_published(published_dir(sample)) as con:
        facts = [text for (text,) in con.sql("SELECT DISTINCT facts FROM marts.action_list").fetchall()]
    assert len(facts) > 5
    pieces = {piece for text in facts for piece in text.split("; ")}
    assert [piece for piece in sorted(pieces) if in_words_of(Formats(language, "USD"), piece) == piece] == []
