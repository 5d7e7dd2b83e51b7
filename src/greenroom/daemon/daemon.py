"""One daemon: creates its parts, connects them, starts and stops them."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from greenroom.client.heartbeat import Heartbeat, Notice
from greenroom.clock import Clock
from greenroom.daemon import adoption
from greenroom.daemon.beat import MachineBeat
from greenroom.daemon.chronicle import id_of_sitting
from greenroom.daemon.desk import Desk
from greenroom.daemon.facts import FactTeller
from greenroom.daemon.harness import House
from greenroom.daemon.histories import Histories
from greenroom.daemon.introduction import Introduction
from greenroom.daemon.machine import Machine, keep
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.premises import Premises
from greenroom.daemon.resident import ResidentSeat
from greenroom.daemon.residents import Resident, ResidentBook
from greenroom.daemon.runs import Run, RunBook
from greenroom.daemon.seat import Seat
from greenroom.daemon.shelf import LogShelf
from greenroom.daemon.supervisor import Supervisor
from greenroom.daemon.wishing import WishWatch
from greenroom.daemon.worker import WorkerSeat
from greenroom.domain import presence, supervision
from greenroom.domain.errors import GreenroomError
from greenroom.domain.ids import ID_BYTES, spell_id
from greenroom.domain.presence import presence_of_daemon
from greenroom.domain.supervision import History
from greenroom.entropy import Entropy
from greenroom.process.ending import CONFLICT, FAILED, Ending
from greenroom.process.identity import this_boot
from greenroom.settings import paths
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import MachineHeartbeatReply, Wish, Wishes
from greenroom.wire.requests import Fact, PostFacts

log = logging.getLogger("greenroom.daemon")

TELL_S_MAX = 2.0
"""Seconds for which a stopping daemon tries to send its last reports; the outbox keeps the reports that are left."""
STOP_MARGIN_S = 15.0
"""Seconds, on top of the grace of a run (`stop_grace_s`), in which all agents must have ended and left."""


class Daemon:
    """The daemon of one machine: sends heartbeats, follows the assignments, runs the agents and sends reports.

    `error` is the error that ended the heartbeat for good, such as an unknown token at the first contact.
    """

    def __init__(
        self,
        settings: Settings,
        machine: Machine,
        read_token: Callable[[], str | None],
        environ: Mapping[str, str],
        clock: Clock,
        entropy: Entropy,
        ending: Ending,
    ) -> None:
        limits = settings.limits
        self.error: GreenroomError | None = None
        self._limits = limits
        self._machine = machine
        self._machine_path = paths.machine(settings.data_dir)
        self._ending = ending
        self._incarnation = spell_id("inc", entropy.token(ID_BYTES))
        self._has_started_parts = False
        house = House(settings.harnesses(), settings.allowed_dirs(), settings.data_dir / "work")
        introduce = Introduction(machine, house, settings.labels(), environ)
        self._desk = Desk(settings.url, read_token, machine, introduce, limits)
        outbox = Outbox(paths.outbox(settings.data_dir), limits.facts_waiting_max)
        self._teller = FactTeller(
            outbox,
            self._post_reports,
            limits,
            entropy,
            self._beat_now,
            partial(self._stop_on_failure, "the outbox sender"),
        )
        self._fact_session = self._desk.open_session()
        book = RunBook(paths.runs(settings.data_dir))
        histories = Histories(paths.histories(settings.data_dir), this_boot(), clock, limits)
        self._premises = Premises(
            desk=self._desk,
            house=house,
            outbox=outbox,
            book=book,
            shelf=LogShelf(
                paths.logs(settings.data_dir), limits.run_logs_kept, limits.run_logs_bytes_max, book.folders_in_use
            ),
            histories=histories,
            clock=clock,
            entropy=entropy,
            limits=limits,
            environ=environ,
            is_connected=lambda: self._heartbeat.is_present(),
            beat_now=self._beat_now,
            is_crowded=lambda: self._heartbeat.is_crowded(),
        )
        self._residents = ResidentBook(paths.residents(settings.data_dir))
        self._supervisor: Supervisor[Seat] = Supervisor(
            self._make_seat, histories, clock, partial(self._stop_on_failure, "the supervisor")
        )
        self._watch = self._make_watch(entropy)
        self._beat = MachineBeat(
            self._desk, self._incarnation, self._list_present, self._watch.heard_of, self._teller.deliver_all
        )
        self._heartbeat = Heartbeat(
            presence_of_daemon(limits),
            self._beat.beat,
            self._beat.register_and_beat,
            self._handle_notice,
            clock,
            entropy,
            self._apply_answer,
            limits.wait_step_s,
        )

    def start(self) -> None:
        """Adopt the runs of an earlier daemon, then start the heartbeat. The other parts start with the first ok."""
        self._adopt()
        self._heartbeat.start()

    def stop(self, reason: str) -> None:
        """Stop every agent, send the reports that are left, and end the heartbeat."""
        if self._has_started_parts:
            self._watch.stop()
        if not self._supervisor.stop(reason, self._limits.stop_grace_s + STOP_MARGIN_S):
            log.warning("shutdown incomplete: agents: not all of them left in time; the server expires their leases")
        unsent = self._teller.close(TELL_S_MAX if self._has_started_parts else 0.0)
        if unsent:
            log.warning("reports not sent: %d kept in the outbox: the next start of the daemon sends them", unsent)
        self._heartbeat.stop(TELL_S_MAX)
        if self._has_started_parts:
            self._beat.leave()

    def _make_watch(self, entropy: Entropy) -> WishWatch:
        return WishWatch(
            self._desk.open_session,
            self._machine.id,
            self._limits,
            entropy,
            self._apply_assignments,
            self._beat_now,
            partial(self._stop_on_failure, "the assignments watch"),
            lambda: self._heartbeat.is_crowded(),
        )

    def _adopt(self) -> None:
        """Adopt the runs of an earlier daemon, before the first heartbeat, which names their participants."""
        premises = self._premises
        runs = adoption.take_over(premises.book, premises.outbox, premises.clock)
        seats: list[Seat] = [self._seat_of(run) for run in runs]
        residents = self._residents.take_over(
            {(run.room, run.role) for run in runs}, lambda seat: premises.outbox.holds(id_of_sitting("exit", seat))
        )
        seats += [self._seat_of_resident(resident) for resident in residents]
        for seat in seats:
            self._supervisor.adopt(seat)
        for seat in seats:
            seat.start()

    def _start_parts(self) -> None:
        """Start the other parts: the machine is registered, and the reports of an earlier daemon are sent."""
        self._has_started_parts = True
        if self._machine.is_new:
            with suppress(OSError):  # the disk is full; the next start writes it
                keep(self._machine_path, self._machine)
        self._teller.start()
        self._supervisor.start()
        self._watch.start()
        log.info("machine connected: %s: registered with %s", self._machine.id, self._desk.url)

    def _list_present(self) -> list[Seat]:
        return [seat for seat in self._supervisor.seats() if seat.is_seated]

    def _make_seat(self, wish: Wish, history: History, on_end: Callable[[], None]) -> Seat:
        if self._premises.house.is_resident(wish):
            return ResidentSeat(self._premises, self._residents, wish, history, on_end)
        return WorkerSeat(self._premises, wish, history, on_end)

    def _seat_of(self, run: Run) -> WorkerSeat:
        assert run.wish is not None
        history = supervision.under(self._premises.histories.of(run.room, run.role), run.wish.generation)
        end = partial(self._supervisor.take_end, run.room, run.role)
        return WorkerSeat(self._premises, run.wish, history, end, run)

    def _seat_of_resident(self, resident: Resident) -> ResidentSeat:
        history = supervision.under(self._premises.histories.of(*resident.key), resident.wish.generation)
        end = partial(self._supervisor.take_end, *resident.key)
        return ResidentSeat(self._premises, self._residents, resident.wish, history, end, resident)

    def _apply_assignments(self, wishes: Wishes) -> None:
        """Pass the assignments to the supervisor, and beat at once: a change may mean that a role was taken over."""
        self._supervisor.take_wishes(wishes)
        self._beat_now()

    def _beat_now(self) -> None:
        self._heartbeat.poke()

    def _apply_answer(self, reply: MachineHeartbeatReply, asked_at: float) -> None:
        if not self._has_started_parts:
            self._start_parts()
        self._beat.take(reply, asked_at)

    def _handle_notice(self, notice: Notice) -> None:
        if notice.kind == presence.RENEW_CLAIM:
            for seat in self._supervisor.seats():
                seat.renew_claim()
            self._watch.renew()
        elif notice.kind == presence.WARN_REJOINED:
            log.warning(
                "machine registered again: %s: the server had removed it; last ok heartbeat %.0f s ago",
                self._machine.id,
                notice.silent_s,
            )
        elif notice.kind == presence.NOTE_UNREACHABLE:
            log.warning("server unreachable, retrying: %s: no answer for %.0f s", self._desk.url, notice.silent_s)
        elif notice.kind == presence.NOTE_BACK:
            log.info("server reachable again: %s: it answered a heartbeat", self._desk.url)
        elif notice.kind == presence.STOP_SUPERSEDED:
            log.error(
                "daemon superseded: machine %s: a newer daemon runs as this machine, so this one stops;"
                " if this is a copy of that machine, remove %s, and it registers as a new machine",
                self._machine.id,
                self._machine_path,
            )
            self._ending.tell(CONFLICT)
        elif notice.kind == presence.STOP_REFUSED:
            self.error = self._heartbeat.last_error
            self._ending.tell(FAILED)

    def _post_reports(self, facts: list[Fact]) -> None:
        self._fact_session.facts(self._machine.id, PostFacts(incarnation=self._incarnation, facts=facts))

    def _stop_on_failure(self, part: str) -> None:
        log.critical("daemon stopping: %s: its thread failed", part)
        self._ending.tell(FAILED)
