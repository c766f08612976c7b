"""Presidio's recognisers beside our own, and names where a spaCy model for them is installed (``en_core_web_sm``, …).

Importing this module loads nothing; the first text loads spaCy, and torch where it is installed: for workers, never for
the web process.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from core.personal_data import patterns
from core.personal_data.findings import Finding, without_overlaps

SCORE_THRESHOLD = 0.4
MODEL_SIZES = ("_trf", "_lg", "_md", "_sm")


def detect(text: str) -> list[Finding]:
    """The personal data in ``text``, in order, without overlaps: what Presidio finds and what our patterns find."""
    found = _analyzer().analyze(text, language="en", score_threshold=SCORE_THRESHOLD)
    return without_overlaps(
        [
            *patterns.detect(text),
            *(Finding(result.entity_type, result.start, result.end, result.score) for result in found),
        ]
    )


def name_model() -> str | None:
    """The English spaCy model that finds people's names: the largest that is installed, or None."""
    from spacy.util import get_installed_models

    installed = [model for model in get_installed_models() if model.startswith("en_")]
    return max(installed, key=lambda model: [size in model for size in MODEL_SIZES], default=None)


@cache
def _analyzer() -> Any:
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer import predefined_recognizers as recognizers
    from presidio_analyzer.nlp_engine import NlpEngine, NoOpNlpEngine, SpacyNlpEngine

    # The recogniser of e-mail addresses asks tldextract, which would otherwise fetch the public suffix list.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    model = name_model()
    models = [{"lang_code": "en", "model_name": model or "none"}]
    engine: NlpEngine = SpacyNlpEngine(models=models) if model else NoOpNlpEngine(models=models)
    # Without its recogniser of telephone numbers, which takes a row of joint angles for one: our patterns accept only
    # valid numbers.
    registry = RecognizerRegistry(
        recognizers=[
            recognizers.CreditCardRecognizer(),
            recognizers.CryptoRecognizer(),
            recognizers.EmailRecognizer(),
            recognizers.IbanRecognizer(),
            recognizers.IpRecognizer(),
            recognizers.MacAddressRecognizer(),
            recognizers.UrlRecognizer(),
            recognizers.UsSsnRecognizer(),
            *([recognizers.SpacyRecognizer(supported_entities=["PERSON"])] if model else []),
        ],
        supported_languages=["en"],
    )
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
