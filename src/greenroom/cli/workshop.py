"""Checks of `greenroom doctor` on this machine: its id, its harnesses and installed agent CLIs. Runs none of them."""

from collections.abc import Iterator, Mapping, Sequence

from greenroom.cli.examination import OK, WARNING, Finding
from greenroom.daemon.run import Machine
from greenroom.process.discovery import FoundCli, unused
from greenroom.process.program import hindrance
from greenroom.settings import paths
from greenroom.settings.resolve import Settings


def examine_machine(settings: Settings, machine: Machine | None) -> Iterator[Finding]:
    """Check the id by which the server recognises this machine."""
    path = paths.machine(settings.data_dir)
    if machine is not None:
        detail = f"{machine.name} (id {machine.id}); a copy of {path} on another machine would count as this machine"
        yield Finding(what="machine", level=OK, detail=detail)
    elif path.exists():
        guidance = f"Restore {path}, or remove it: this machine then registers as a new one."
        yield Finding(what="machine", level=WARNING, detail=f"{path} has no valid machine id", next=guidance)
    else:
        detail = "it has no id yet; the first greenroom daemon start creates one"
        yield Finding(what="machine", level=OK, detail=detail)


def examine_harnesses(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check that the programs of the configured harnesses are installed."""
    harnesses = settings.harnesses()
    missing = 0
    for name, harness in sorted(harnesses.items()):
        error = hindrance(harness.command, harness.env, environ)
        if error is not None:
            missing += 1
            yield Finding(what=f"harness {name}", level=WARNING, detail=error.detail, next=error.guidance)
    if not harnesses:
        detail = "none is configured; this machine's daemon cannot run agents yet"
        yield Finding(what="harnesses", level=OK, detail=detail)
    elif not missing:
        yield Finding(what="harnesses", level=OK, detail=f"{', '.join(sorted(harnesses))}: all programs found")


def examine_clis(settings: Settings, clis: Sequence[FoundCli]) -> Iterator[Finding]:
    """List installed agent CLIs that no harness runs, each with the lines that configure a harness for it."""
    for cli in unused(clis, [harness.command for harness in settings.harnesses().values()]):
        where = settings.project.path if settings.project is not None else "greenroom.toml, or the user's config"
        snippet = cli.snippet.rstrip().replace("\n", "\n            ")
        detail = f"{cli.name} is installed ({cli.path}), but no harness runs it"
        yield Finding(what="agents", level=OK, detail=detail, next=f"To run it, add to {where}:\n            {snippet}")
