"""How a server tells what goes on inside it. Must not know what is told."""

import logging
import sys

import structlog


def log_to_stderr() -> None:
    """Have everything that is logged told on stderr, one line each; libraries only when something is wrong."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # The drawn tracebacks that are its default show every variable, tokens too, and take 0.1 s each.
                structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            ],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("greenroom").setLevel(logging.INFO)
