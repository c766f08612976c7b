"""The keys of objects (docs/pipeline.md, "Where things are"). Made here and nowhere else."""

from __future__ import annotations

import re
import uuid
from datetime import date, datetime


def raw_folder(day: date, slug: str, request_id: uuid.UUID) -> str:
    return f"raw/{day.isoformat()}/collection_{slug}/{request_id}/"


def run_folder(slug: str, run_id: uuid.UUID) -> str:
    return f"processed/collection_{slug}/run_{run_id}/"


def batch_name(number: int) -> str:
    """The Parquet file of a run's shard; shards are counted from 1."""
    return f"batch_{number:03d}.parquet"


def csv_part_name(number: int) -> str:
    """The rows of a shard as CSV, until the run's one CSV has been put together."""
    return f"batch_{number:03d}.csv"


def export_folder(slug: str, export_id: uuid.UUID) -> str:
    return f"exports/collection_{slug}/export_{export_id}/"


def embeddings_key(slug: str) -> str:
    return f"embeddings/collection_{slug}_embeddings.parquet"


def backup_key(moment: datetime) -> str:
    return f"backups/db_backup_{moment.date().isoformat()}.dump"


def backup_settings_key(moment: datetime) -> str:
    return f"backups/configuration_{moment.date().isoformat()}.json"


def backup_day(key: str) -> date | None:
    """The day in the name of a backup or of its description; None where there is none."""
    found = re.fullmatch(r"backups/(?:db_backup|configuration)_(\d{4}-\d{2}-\d{2})\.(?:dump|json)", key)
    return date.fromisoformat(found[1]) if found else None


def redacted_key(slug: str, sha256: str, engine: str) -> str:
    """The redacted twin of the image whose bytes have this SHA-256."""
    return f"processed/collection_{slug}/redacted/{engine}/{sha256[:2]}/{sha256}.jpg"


def is_redacted(key: str) -> bool:
    """Whether the key is of a redacted twin."""
    return re.match(r"processed/[^/]+/redacted/", key) is not None


def archive_key(slug: str, first_result: uuid.UUID) -> str:
    """Records that were archived together, named by the first of them."""
    return f"archive/collection_{slug}/{first_result}.jsonl.gz"


ERASURES = "erased/"


PURGES = "purged/"


def purge_key(moment: datetime, identifier: uuid.UUID) -> str:
    """The journal's entry of a part of a purge: which pictures stand for which records, known by one-way traces."""
    return f"{PURGES}{moment.date().isoformat()}/{identifier}.json"


def erasure_key(moment: datetime, identifier: uuid.UUID) -> str:
    """The journal's entry of one erasure: one-way traces, so that a restored backup loses the records again."""
    return f"{ERASURES}{moment.date().isoformat()}/{identifier}.json"
