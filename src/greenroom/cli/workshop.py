"""What `greenroom doctor` finds out about this machine as a place for agents. Must not run any of their commands."""

from collections.abc import Iterator, Mapping, Sequence

from greenroom.cli.examination import OK, WARNING, Finding
from greenroom.daemon.run import Machine
from greenroom.process.discovery import FoundCli, unused
from greenroom.process.program import hindrance
from greenroom.settings import paths
from greenroom.settings.resolve import Settings


def examine_machine(settings: Settings, machine: Machine | None) -> Iterator[Finding]:
    """By which id the server knows this machine."""
    path = paths.machine(settings.data_dir)
    if machine is not None:
        detail = f"{machine.name} (id {machine.id}); a copy of {path} elsewhere would be taken for the same machine"
        yield Finding(what="machine", level=OK, detail=detail)
    elif path.exists():
        mend = f"Restore {path}, or remove it and let this machine register as a new one."
        yield Finding(what="machine", level=WARNING, detail=f"{path} does not say who this machine is", next=mend)
    else:
        detail = "it has no id yet; the first greenroom daemon start gives it one"
        yield Finding(what="machine", level=OK, detail=detail)


def examine_harnesses(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether what the configuration lets this machine run is there."""
    harnesses = settings.harnesses()
    missing = 0
    for name, harness in sorted(harnesses.items()):
        error = hindrance(harness.command, harness.env, environ)
        if error is not None:
            missing += 1
            yield Finding(what=f"harness {name}", level=WARNING, detail=error.detail, next=error.guidance)
    if not harnesses:
        detail = "none is configured; this machine's daemon can run nothing yet"
        yield Finding(what="harnesses", level=OK, detail=detail)
    elif not missing:
        yield Finding(what="harnesses", level=OK, detail=f"{', '.join(sorted(harnesses))}: their programs are there")


def examine_clis(settings: Settings, clis: Sequence[FoundCli]) -> Iterator[Finding]:
    """The known agent CLIs that are installed here and that no harness runs, each with what would make one of it."""
    for cli in unused(clis, [harness.command for harness in settings.harnesses().values()]):
        where = settings.project.path if settings.project is not None else "greenroom.toml, or the user's config"
        snippet = cli.snippet.rstrip().replace("\n", "\n            ")
        detail = f"{cli.name} is installed ({cli.path}), and no harness runs it"
        yield Finding(
            what="agents", level=OK, detail=detail, next=f"To have it run, put into {where}:\n            {snippet}"
        )
