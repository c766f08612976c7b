"""Presidio's recognisers beside our own.

Importing this module loads nothing; the first text loads spaCy, and torch where it is installed: for workers, never for
the web process.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from core.personal_data import patterns
from core.personal_data.findings import Finding, without_overlaps

# Without PHONE_NUMBER: Presidio takes a row of joint angles for one; our patterns accept only valid numbers.
ENTITIES = (
    "CREDIT_CARD",
    "CRYPTO",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "URL",
    "US_SSN",
)
SCORE_THRESHOLD = 0.4


def detect(text: str) -> list[Finding]:
    """The personal data in ``text``, in order, without overlaps: what Presidio finds and what our patterns find."""
    found = _analyzer().analyze(text, language="en", entities=list(ENTITIES), score_threshold=SCORE_THRESHOLD)
    return without_overlaps(
        [
            *patterns.detect(text),
            *(Finding(result.entity_type, result.start, result.end, result.score) for result in found),
        ]
    )


@cache
def _analyzer() -> Any:
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    # The recogniser of e-mail addresses asks tldextract, which would otherwise fetch the public suffix list.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    engine = NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "none"}])
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
