"""Logs on standard error: lines of key=value, or JSON, as the settings ask."""

from __future__ import annotations

import json
import logging
import sys

from fairway.config.proxy.settings import LogFormat, Logging

DETAILS = 4
"""From this verbosity on, what is only of use to a developer is logged too; Kubernetes' own programs do the same."""


class JsonFormatter(logging.Formatter):
    """One object a line, with the keys that Kubernetes' programs use."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "ts": round(record.created * 1000, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            entry["err"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(level: int = logging.INFO, log_format: LogFormat = LogFormat.TEXT) -> None:
    """Log from this level on. May be called again when settings change."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s %(message)s"))
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler], force=True)
    logging.getLogger("fairway").setLevel(level)


def apply_logging(settings: Logging) -> None:
    """As the configuration says: its format, and details from verbosity 4 on."""
    set_up_logging(logging.DEBUG if settings.verbosity >= DETAILS else logging.INFO, settings.format)
