"""Trials of contacts: a message that says it is one, by the road that a page takes."""

from __future__ import annotations

import pytest

from coldgrid.kernel.outbox import EffectStatus, effects_about, payload_of
from coldgrid.network.rotas import Channel
from coldgrid.orchestration.trials import ContactNotFound, SirenNotTried, TryContact, about_trials
from tests.conftest import Kernel
from tests.network.master import group, put_in_force


def trial(channel: Channel = Channel.SMS, person_id: str = "p-1") -> TryContact:
    return TryContact(trial_id=f"t-{channel}", group_id="GRP-ATL1", person_id=person_id, channel=channel)


def test_a_trial_goes_to_the_contacts_address_sealed_and_says_that_nothing_is_wrong(kernel: Kernel) -> None:
    put_in_force(kernel, group())
    kernel.do(trial())
    db = kernel.reader()
    (effect,) = effects_about(db, about_trials("GRP-ATL1"))
    assert (effect.channel, effect.key, effect.status) == ("sms", "t-sms", EffectStatus.PENDING)
    assert effect.payload is None, "an address is personal data"
    payload = payload_of(db, effect)
    assert payload is not None
    assert payload["to"] == "+14045550101"
    assert "Nothing is wrong" in payload["text"]
    kernel.rebuild()


def test_whom_the_group_does_not_reach_and_a_siren_are_not_tried(kernel: Kernel) -> None:
    put_in_force(kernel, group())
    before = kernel.events()
    with pytest.raises(ContactNotFound):
        kernel.do(trial(Channel.EMAIL))
    with pytest.raises(ContactNotFound):
        kernel.do(trial(person_id="p-9"))
    with pytest.raises(SirenNotTried):
        kernel.do(trial(Channel.SIREN))
    assert kernel.events() == before
