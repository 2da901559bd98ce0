"""Structured logs: one line an occurrence, for people at a terminal and as JSON elsewhere. What is logged are counts,
codes, durations and Hilum's own ids; names, identifiers and descriptions of patients never are."""

import logging
import sys
from collections.abc import MutableMapping
from typing import TypeAlias

import structlog

from hilum.core.config import Settings

_Event: TypeAlias = MutableMapping[str, object]


def configure_logging(settings: Settings, process: str) -> None:
    """Send this process's logs to standard error in the form that the settings ask for.

    Parameters
    ----------
    settings
        Level and form.
    process
        Name that every line bears: ``http``, ``worker``, ``serve`` ...
    """
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(pad_event_to=32)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_exception_text,
    ]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)


def _without_exception_text(_logger: object, _method: str, event: _Event) -> _Event:
    """Keep an exception's type and place; its message may quote a value of a DICOM header or an SQL parameter."""
    info = event.pop("exc_info", None)
    error = info if isinstance(info, BaseException) else sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["where"] = _frames(error)
    return event


def _frames(error: BaseException) -> str:
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return " > ".join(places[-8:])
