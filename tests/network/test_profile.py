"""The network's name and unit, and the set-up that happens once."""

from __future__ import annotations

import msgspec
import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.network.profile import (
    BeginSetUp,
    FinishSetUp,
    NameNetwork,
    NetworkNamed,
    NetworkNotNamed,
    SetUpBegun,
    SetUpFinished,
    SetUpOver,
    SetUpStep,
    SetUpStepSkipped,
    ShownUnit,
    SkipSetUpStep,
    profile_of,
    set_up_open,
    skipped_steps,
)
from tests.conftest import Kernel
from tests.network.master import group, put_in_force


class TestSetUp:
    def test_an_empty_network_is_named_left_in_part_for_later_and_ended_once(self, kernel: Kernel) -> None:
        assert set_up_open(kernel.reader())
        kernel.do(NameNetwork(name=" Frostwerk Köln ", unit=ShownUnit.CELSIUS))
        kernel.do(SkipSetUpStep(step=SetUpStep.PRODUCTS))
        put_in_force(kernel, group())
        assert set_up_open(kernel.reader()), "what it did itself does not end it"
        kernel.do(FinishSetUp())
        kept = profile_of(kernel.reader())
        assert kept is not None
        assert (kept.name, kept.unit, kept.finished_at is not None) == ("Frostwerk Köln", "c", True)
        assert skipped_steps(kernel.reader()) == {"products"}
        for again in (NameNetwork(name="Other"), SkipSetUpStep(step=SetUpStep.SITE), FinishSetUp()):
            with pytest.raises(SetUpOver):
                kernel.do(again)
        kernel.rebuild()

    def test_the_same_name_and_the_same_step_again_are_no_new_facts(self, kernel: Kernel) -> None:
        for _ in range(2):
            kernel.do(NameNetwork(name="North", unit=ShownUnit.FAHRENHEIT))
            kernel.do(SkipSetUpStep(step=SetUpStep.SENSOR))
        told = [type(event) for stream, event in kernel.events() if stream == "profile/network"]
        assert told == [NetworkNamed, SetUpStepSkipped]

    def test_a_network_that_has_master_data_refuses_it(self, kernel: Kernel) -> None:
        put_in_force(kernel, group())
        assert not set_up_open(kernel.reader())
        with pytest.raises(SetUpOver):
            kernel.do(NameNetwork(name="North"))
        assert profile_of(kernel.reader()) is None

    def test_what_it_puts_in_force_before_the_network_has_its_name_does_not_end_it(
        self, kernel: Kernel
    ) -> None:
        for _ in range(2):
            kernel.do(BeginSetUp())
        put_in_force(kernel, group())
        assert set_up_open(kernel.reader())
        kernel.do(NameNetwork(name="North"))
        kernel.do(FinishSetUp())
        with pytest.raises(SetUpOver):
            kernel.do(BeginSetUp())
        told = [type(event) for stream, event in kernel.events() if stream == "profile/network"]
        assert told == [SetUpBegun, NetworkNamed, SetUpFinished]
        kernel.rebuild()

    def test_it_cannot_end_before_it_began_and_a_blank_name_is_none(self, kernel: Kernel) -> None:
        with pytest.raises(NetworkNotNamed):
            kernel.do(FinishSetUp())
        with pytest.raises(Invalid):
            kernel.do(NameNetwork(name="  "))
        assert kernel.events() == []


STORED = [
    (b'{"type":"network.named","name":"North","unit":"f"}', NetworkNamed),
    (b'{"type":"network.set_up_step_skipped","step":"products"}', SetUpStepSkipped),
    (b'{"type":"network.set_up_finished"}', SetUpFinished),
    (b'{"type":"network.set_up_begun"}', SetUpBegun),
]


@pytest.mark.parametrize(("stored", "type_"), STORED)
def test_events_keep_their_wire_form(stored: bytes, type_: type[msgspec.Struct]) -> None:
    """Bytes from release 1 must decode for ever. Add lines; never edit one."""
    assert msgspec.json.encode(msgspec.json.decode(stored, type=type_)) == stored
