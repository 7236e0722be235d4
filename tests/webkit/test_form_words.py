"""What a refused form says: nothing of JSON, of patterns or of the program."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
import pytest

from coldgrid.kernel.rejections import Conflict, Invalid, KeyReused, NotFound, Problem
from coldgrid.kernel.validation import decode_all
from coldgrid.webkit.form_words import refusal_in_words
from coldgrid.webkit.forms import Form, form_bytes, refused_form

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Sent(msgspec.Struct):
    """One field of each kind that a form is filled in wrong."""

    lot_id: Id = "L1"
    qty: int = 1
    expires_on: date = date(2027, 1, 1)
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] = "US"
    photo: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""
    steps: list[dict[str, Any]] = []
    channels: list[Id] = []


class Needed(msgspec.Struct):
    """A field that has to be filled in."""

    capacity: int


class ZoneWarm(Conflict):
    """Goods go back to stock only when the air is cold again."""

    todo = "Wait for it."


def refused(values: dict[str, str], into: type[msgspec.Struct] = Sent) -> Form:
    sent = {name: [text] for name, text in values.items()}
    with pytest.raises(Invalid) as why:
        decode_all(form_bytes(sent, into), into)
    return refused_form(why.value, sent, 422)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "lot_id",
            "lot 7",
            "Has other characters than letters, digits and . _ -. Leave out spaces and other marks.",
        ),
        ("qty", "4,5", "Is no whole number. Write it like 12."),
        ("expires_on", "soon", "Is no day. Write it like 2026-12-31."),
        ("country", "usa", "Is not two capital letters. Write it like US."),
        ("photo", "photo.jpg", "Is no SHA-256. It has 64 characters, 0 to 9 and a to f."),
        ("steps", "who knows", "Is not written as names and values. Write each as name: value."),
    ],
)
def test_what_is_wrong_with_a_field_is_said_without_the_words_of_the_decoder(
    name: str, text: str, said: str
) -> None:
    assert refused({name: text}).error(name.removesuffix("[0]")) == said


def test_an_empty_field_is_empty_and_not_missing_by_its_name_in_the_program() -> None:
    assert refused({"capacity": " "}, Needed).error("capacity") == "Is empty. Fill it in."


def test_what_is_wrong_with_one_of_several_in_a_field_is_said_at_the_field() -> None:
    form = refused({"channels": "web\nweb shop"})
    assert form.error("channels").startswith("Has other characters")
    assert form.others(["channels"]) == []


def test_a_form_sent_again_with_other_text_after_going_back_is_told_so() -> None:
    title, todo = refusal_in_words(KeyReused(key="form-1"))
    assert "key" not in title + todo
    assert "sent before" in title


def test_ids_that_the_program_made_are_not_told_to_people() -> None:
    facts = {"change_id": "change-4cnh6eal5lihlwvg", "drafted_by": "person-4b55287fa5ade179"}
    assert refusal_in_words(ZoneWarm(**facts))[0] == ZoneWarm().title
    said, _ = refusal_in_words(ZoneWarm(zone_id="ATL1-FRZ1", **facts))
    assert said.endswith(" Zone id: ATL1-FRZ1.")


def test_a_rule_names_its_facts_as_people_do() -> None:
    said, todo = refusal_in_words(ZoneWarm(zone_id="ATL1-FRZ1"))
    assert said == "Goods go back to stock only when the air is cold again. Zone id: ATL1-FRZ1."
    assert todo == "Wait for it."


class ProductNotFound(NotFound):
    """There is no such product."""

    todo = "Products are in the catalog."


def test_what_is_not_there_is_said_at_the_field_that_named_it() -> None:
    why = ProductNotFound(product_id="ice")
    form = refused_form(why, {"product_id": ["ice "], "qty": ["4"]}, 404)
    assert form.error("product_id") == "There is no such product. Products are in the catalog."
    assert form.title == "There is no such product. Product id: ice."
    assert refused_form(why, {"qty": ["4"]}, 404).problems == []


def test_the_words_of_a_rule_stay() -> None:
    rule = Problem(field="probe_id", message="is missing", fix="the number on the probe")
    form = refused_form(Invalid([rule]), {}, 422)
    assert form.error("probe_id") == "Is missing. The number on the probe."
