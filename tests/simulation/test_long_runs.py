"""Runs the state machines for minutes instead of seconds, in `make prove`."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.simulation.test_machines_heal import MachinesHeal
from tests.simulation.test_restarts_keep_budget import RestartsKeepBudget
from tests.simulation.test_self_healing import SelfHealing
from tests.simulation.test_work_is_kept import WorkIsKept

LONG = settings(max_examples=3000, stateful_step_count=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.prove
@pytest.mark.parametrize("machine", [SelfHealing, MachinesHeal, WorkIsKept, RestartsKeepBudget])
def test_state_machine_long_run(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(machine, settings=LONG)
