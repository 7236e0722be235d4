"""Photos of hand readings: what is taken in by the form, where it is shown, and that a pack proves it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.evidence.parts import PackFile, PackSubject
from coldgrid.kernel.log import read_stream
from coldgrid.kernel.rejections import Invalid
from coldgrid.quality import pack
from coldgrid.quality.excursions import list_excursions
from coldgrid.quality.hand_readings import HandReading, RecordHandReading, hand_readings_of
from coldgrid.quality.photos import (
    PHOTO_MAX_BYTES,
    KeepPhoto,
    PhotoNotNamed,
    Picture,
    check_photo,
    get_photo,
    picture_of,
)
from tests.conftest import T0, Kernel
from tests.quality.night import ZONE, open_freezer
from tests.quality.office import CSRF, Office, open_office
from tests.quality.pictures import jpeg, png, webp
from tests.stock.world import SITE

Client = TestClient[Litestar]
AT = f"/quality/sites/{SITE}/zones/{ZONE}/reading"
HEIC = b"\x00\x00\x00\x18ftypheic" + b"\x00" * 40


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with open_office(tmp_path) as made:
        yield made


@pytest.fixture
def client(office: Office) -> Iterator[Client]:
    with TestClient(office.app, raise_server_exceptions=False) as made:
        made.headers["x-csrf-token"] = CSRF
        made.follow_redirects = False
        yield made


def record(client: Client, photo: bytes | None = None, **more: str) -> Any:
    data = {"_csrf": CSRF, "_key": "k1", "value_c": "-19.5", "target": "product", "probe_id": "P-7", **more}
    files = {"photo": ("display.jpg", photo, "image/jpeg")} if photo is not None else {}
    return client.post(AT, data=data, files=files, headers={"x-as": "olga"})


def readings(office: Office) -> list[HandReading]:
    found: list[HandReading] = office.read(lambda db: hand_readings_of(db, ZONE, T0, office.clock.instant))
    return found


class TestWhatAFileIs:
    @pytest.mark.parametrize(
        ("body", "picture"),
        [(jpeg(), Picture.JPEG), (png(), Picture.PNG), (webp(), Picture.WEBP)],
        ids=["jpeg", "png", "webp"],
    )
    def test_it_is_told_by_its_content(self, body: bytes, picture: Picture) -> None:
        assert picture_of(body) is picture

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "is empty"),
            (b"<svg onload='alert(1)'/>", "is no picture"),
            (jpeg(end=b""), "was cut off"),
            (png()[:-12], "was cut off"),
            (webp()[:-1], "was cut off"),
            (HEIC, "is a HEIC"),
            (jpeg() + b"\x00" * PHOTO_MAX_BYTES, "has 8.0 MB, a photo has 8 MB at most"),
        ],
    )
    def test_what_cannot_be_kept_is_refused_by_what_it_is(self, body: bytes, why: str) -> None:
        with pytest.raises(Invalid, match=why):
            check_photo(body)

    def test_anything_cut_anywhere_is_told_without_a_fault(self) -> None:
        for body in (jpeg(), png(), webp()):
            assert [picture_of(body[:end]) for end in range(len(body))] == [None] * len(body)


class TestKeeping:
    def reading(self, photo_hash: str = "") -> RecordHandReading:
        return RecordHandReading(
            site_id=SITE, reading_id="r-1", zone_id=ZONE, value_c=-19.0, probe_id="P-7", photo_hash=photo_hash
        )

    def test_a_photo_is_kept_for_the_reading_that_names_it_and_no_other(self, kernel: Kernel) -> None:
        open_freezer(kernel)
        kernel.do(self.reading(sha256(png()).hexdigest()), actor="olga", roles={"operator"})
        with pytest.raises(PhotoNotNamed):
            kernel.do(KeepPhoto(site_id=SITE, reading_id="r-1", body=jpeg()))
        with pytest.raises(PhotoNotNamed):
            kernel.do(KeepPhoto(site_id=SITE, reading_id="r-2", body=png()))
        for _ in range(2):
            kernel.do(KeepPhoto(site_id=SITE, reading_id="r-1", body=png()))
        found = get_photo(kernel.reader(), SITE, sha256(png()).hexdigest())
        assert (found.media_type, found.body) == (Picture.PNG, png())
        kernel.rebuild()


class TestTheForm:
    def test_the_photo_of_a_reading_is_kept_and_shown(self, office: Office, client: Client) -> None:
        assert record(client, jpeg()).status_code == 303
        (reading,) = readings(office)
        assert reading.photo_hash == sha256(jpeg()).hexdigest()
        at = f"/quality/sites/{SITE}/photos/{reading.photo_hash}"
        excursion_id = office.read(list_excursions)[0].excursion_id
        for page in (AT, f"/quality/excursions/{excursion_id}"):
            assert f'<img src="{at}"' in client.get(page, headers={"x-as": "quinn"}).text
        answer = client.get(at, headers={"x-as": "quinn"})
        assert (answer.content, answer.headers["content-type"]) == (jpeg(), "image/jpeg")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]

    def test_a_reading_without_a_photo_is_as_good(self, office: Office, client: Client) -> None:
        assert record(client).status_code == 303
        assert readings(office)[0].photo_hash == ""

    @pytest.mark.parametrize(
        ("photo", "why"),
        [
            (b"%PDF-1.7", "Is no picture, or was cut off. Send a whole JPEG, PNG or WebP."),
            (HEIC, "Is a HEIC, AVIF or video file"),
            (jpeg() + b"\x00" * PHOTO_MAX_BYTES, "Has 8.0 MB, a photo has 8 MB at most."),
        ],
        ids=["pdf", "heic", "big"],
    )
    def test_what_is_no_photo_is_refused_beside_its_field(
        self, office: Office, client: Client, photo: bytes, why: str
    ) -> None:
        answer = record(client, photo)
        assert answer.status_code == 422
        assert why in answer.text
        assert 'value="-19.5"' in answer.text
        assert "Choose it again" in answer.text
        assert readings(office) == []

    def test_pressed_twice_it_is_one_reading(self, office: Office, client: Client) -> None:
        assert {record(client, png()).status_code for _ in range(2)} == {303}
        assert len(readings(office)) == 1

    def test_who_may_not_look_does_not_see_the_photo(self, office: Office, client: Client) -> None:
        record(client, png())
        at = f"/quality/sites/{SITE}/photos/{readings(office)[0].photo_hash}"
        assert client.get(at, headers={"x-as": "nobody"}).status_code in (303, 401)
        assert client.get(at.replace(SITE, "DFW1"), headers={"x-as": "quinn"}).status_code == 404

    def test_a_reader_of_fahrenheit_types_fahrenheit(self, office: Office, client: Client) -> None:
        client.cookies.set("coldgrid_unit", "f")
        text = client.get(AT, headers={"x-as": "olga"}).text
        assert 'name="_f" value="value_c"' in text
        assert '<span class="unit">°F</span>' in text
        assert record(client, value_c="-4", _f="value_c").status_code == 303
        assert readings(office)[0].value_c == -20.0
        beyond = record(client, value_c="900", _f="value_c", _key="k2")
        assert "Must be at most 100 °C." in beyond.text


def test_a_pack_holds_the_photo_with_the_entry_that_attests_it(office: Office, client: Client) -> None:
    record(client, jpeg())
    (reading,) = readings(office)
    subject = PackSubject("incident", office.read(list_excursions)[0].incident_id)
    parts = office.read(lambda db: pack.contribute(db, subject))
    (photo,) = [part for part in parts if isinstance(part, PackFile)]
    entry = office.read(lambda db: read_stream(db, f"measurement/{reading.reading_id}"))[0]
    assert (photo.path, photo.body) == (f"photos/{reading.photo_hash}.jpeg", jpeg())
    assert photo.attested_by == entry.id


def test_the_api_takes_a_photo_in_base_64(office: Office, client: Client) -> None:
    record(client, photo_hash=sha256(png()).hexdigest())
    (reading,) = readings(office)
    body = {
        "site_id": SITE,
        "reading_id": reading.reading_id,
        "body": base64.b64encode(png()).decode(),
    }
    answer = client.post("/api/v1/commands/quality.keep_photo", json=body, headers={"x-as": "olga"})
    assert answer.status_code == 200, answer.text
