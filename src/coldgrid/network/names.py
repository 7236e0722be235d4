"""Naming standards: what a name of each kind looks like, and the right spelling of a wrong one.

Invariants
    N1  Every write of master data checks its names; a refusal carries the fix, or the rule and an example.
    N2  A suggestion is only made when the parts of the name can be told apart, and follows its standard.

A name says where a thing is: `ATL1-FRZ1-A01-02` is aisle A01, bay 02, in freezer 1 of site ATL1. It is made
of capitals, digits and hyphens alone, so that it survives labels, scanners, file names and telephones.
Names that come from elsewhere (GTIN, SSCC, TLC) keep their issuers' form and have no standard here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

import msgspec

from coldgrid.kernel.rejections import Problem

NAME_CHARS_MAX = 64

# What people write for a zone's class, and what the standard says.
CLASS_CODES: Mapping[str, tuple[str, ...]] = {
    "FRZ": ("FREEZER", "FROZEN", "FREEZE", "FRZR", "FRZN", "FRZ", "FR"),
    "CHL": ("CHILLED", "CHILLER", "COOLER", "FRIDGE", "CHILL", "CHLR", "CHL", "CH"),
    "AMB": ("AMBIENT", "AMBNT", "DRY", "AMB"),
}
# What people write for a place without aisles.
PLACE_CODES: Mapping[str, tuple[str, ...]] = {
    "DOCK": ("DOCKDOOR", "DOCK", "DK"),
    "STG": ("STAGING", "STAGE", "STG"),
    "QRN": ("QUARANTINE", "QUAR", "QRN"),
    "VRT": ("VIRTUAL", "VIRT", "VRT"),
}
# What a sensor measures: temperature of the zone's air, product probe, buffered probe, supply and return air,
# door, compressor, defrost, humidity, power (a UPS), network (a way out).
SENSOR_CODES: Mapping[str, tuple[str, ...]] = {
    "T": ("TEMPERATURE", "TEMP", "AIR", "T"),
    "P": ("PRODUCT", "PROBE", "P"),
    "B": ("BUFFERED", "BUFFER", "B"),
    "S": ("SUPPLY", "S"),
    "R": ("RETURN", "R"),
    "D": ("DOOR", "D"),
    "C": ("COMPRESSOR", "COMP", "C"),
    "F": ("DEFROST", "F"),
    "H": ("HUMIDITY", "HUM", "H"),
    "W": ("POWER", "UPS", "W"),
    "N": ("NETWORK", "WAN", "N"),
}
SENSOR_LETTERS = "".join(SENSOR_CODES)


class Standard(msgspec.Struct, frozen=True):
    """How things of one kind are named.

    `pattern` must match the whole name. `loose` matches its common misspellings, after capitals and hyphens
    were put right, and `spell` turns such a match into the standard form.
    """

    kind: str
    pattern: str
    example: str
    means: str
    loose: str = ""
    spell: Callable[[re.Match[str]], str] | None = None

    def allows(self, name: str) -> bool:
        """Tell whether a name follows the standard."""
        return len(name) <= NAME_CHARS_MAX and re.fullmatch(self.pattern, name, re.ASCII) is not None

    def suggest(self, name: str) -> str | None:
        """Return the standard form of a misspelt name, or None when it cannot be told (N2)."""
        tidy = _tidied(name)
        if self.allows(tidy):
            return tidy
        match = re.fullmatch(self.loose, tidy, re.ASCII) if self.loose and self.spell else None
        if match is None or self.spell is None:
            return None
        spelt = self.spell(match)
        return spelt if self.allows(spelt) else None

    def check(self, field: str, name: str) -> list[Problem]:
        """Return what is wrong with a name, with the fix (N1)."""
        if self.allows(name):
            return []
        spelt = self.suggest(name)
        message = f"{_shown(name)} does not follow the naming standard for a {self.kind}"
        fix = f"did you mean {spelt}?" if spelt else f"{self.means}, like {self.example}"
        return [Problem(field=field, message=message, fix=fix)]


def _tidied(name: str) -> str:
    """Capitals, plain hyphens, no spaces: what is wrong most often."""
    plain = unicodedata.normalize("NFKC", name[: 2 * NAME_CHARS_MAX])
    plain = re.sub(r"[\s_./:\\\u2010-\u2015\u2212-]+", "-", plain.strip())
    return plain.strip("-").upper()


def _shown(name: str) -> str:
    return repr(name if len(name) <= NAME_CHARS_MAX else name[:NAME_CHARS_MAX] + "…")


def _spellings(codes: Mapping[str, tuple[str, ...]]) -> str:
    return "|".join(sorted((text for texts in codes.values() for text in texts), key=len, reverse=True))


def _code(codes: Mapping[str, tuple[str, ...]], text: str) -> str:
    return next(code for code, texts in codes.items() if text in texts)


def _site(match: re.Match[str]) -> str:
    return f"{match['site']}{int(match['site_no'] or 1)}"


def _zone(match: re.Match[str]) -> str:
    return f"{_site(match)}-{_code(CLASS_CODES, match['class_code'])}{int(match['zone_no'] or 1)}"


def _location(match: re.Match[str]) -> str:
    place = match["place"]
    row = _code(PLACE_CODES, place) if place else f"{match['aisle']}{int(match['aisle_no']):02d}"
    return f"{_zone(match)}-{row}-{int(match['place_no'] or match['bay_no'] or 1):02d}"


def _sensor(match: re.Match[str]) -> str:
    return f"{_zone(match)}-{_code(SENSOR_CODES, match['letter'])}{int(match['sensor_no'] or 1)}"


def _gateway(match: re.Match[str]) -> str:
    return f"{_site(match)}-GW{int(match['gateway_no'] or 1)}"


def _lane(match: re.Match[str]) -> str:
    ends = [f"{match[end]}{int(match[number] or 1)}" for end, number in (("a", "a_no"), ("b", "b_no"))]
    return "-".join(ends) + (f"-{int(match['again'])}" if match["again"] else "")


_SITE_LOOSE = r"(?P<site>[A-Z]{3})-?0*(?P<site_no>\d{1,2})?"
_ZONE_LOOSE = rf"{_SITE_LOOSE}-?(?P<class_code>{_spellings(CLASS_CODES)})-?0*(?P<zone_no>\d{{1,2}})?"
_PLACE_LOOSE = (
    rf"(?:(?P<place>{_spellings(PLACE_CODES)})(?:-?0*(?P<place_no>\d{{1,2}}))?"
    r"|(?P<aisle>[A-Z])-?(?P<aisle_no>\d{1,2}))"
)
_SITE = r"[A-Z]{3}[1-9]\d?"
_ZONE = rf"{_SITE}-(?:FRZ|CHL|AMB)[1-9]\d?"

SITE = Standard(
    "site",
    _SITE,
    "ATL1",
    "three letters of the nearest airport or city code and a number from 1 to 99",
    _SITE_LOOSE,
    _site,
)
ZONE = Standard(
    "zone",
    _ZONE,
    "ATL1-FRZ1",
    "the site, FRZ, CHL or AMB for frozen, chilled or ambient, and a number from 1 to 99",
    _ZONE_LOOSE,
    _zone,
)
LOCATION = Standard(
    "location",
    rf"{_ZONE}-(?:[A-Z]\d{{2}}|DOCK|STG|QRN|VRT)-\d{{2}}",
    "ATL1-FRZ1-A01-02",
    "the zone, the aisle (or DOCK, STG, QRN, VRT) and the bay, each with two digits",
    rf"{_ZONE_LOOSE}-?{_PLACE_LOOSE}(?:-0*(?P<bay_no>\d{{1,2}}))?",
    _location,
)
SENSOR = Standard(
    "sensor",
    rf"{_ZONE}-[{SENSOR_LETTERS}][1-9]\d?",
    "ATL1-FRZ1-T1",
    f"the zone, one letter of {SENSOR_LETTERS} for what it measures, and a number from 1 to 99",
    rf"{_ZONE_LOOSE}-?(?P<letter>{_spellings(SENSOR_CODES)})-?0*(?P<sensor_no>\d{{1,2}})?",
    _sensor,
)
ASSET = Standard(
    "asset",
    rf"{_ZONE}-[A-Z]{{2,4}}[1-9]\d?",
    "ATL1-FRZ1-CMP1",
    "the zone, two to four letters for the machine and a number from 1 to 99",
)
GATEWAY = Standard(
    "gateway",
    rf"{_SITE}-GW[1-9]\d?",
    "ATL1-GW1",
    "the site, GW and a number from 1 to 99",
    rf"{_SITE_LOOSE}-?(?:GATEWAY|GTW|GW)-?0*(?P<gateway_no>\d{{1,2}})?",
    _gateway,
)
LANE = Standard(
    "lane",
    rf"{_SITE}-{_SITE}(?:-[2-9])?",
    "ATL1-CLT1",
    "the two sites in the direction of travel, then -2 to -9 for a second lane between them",
    r"(?P<a>[A-Z]{3})-?0*(?P<a_no>\d{1,2})?-*(?:>|TO)?-*(?P<b>[A-Z]{3})-?0*(?P<b_no>\d{1,2})?(?:-(?P<again>[2-9]))?",
    _lane,
)
GROUP = Standard(
    "group",
    r"GRP-[A-Z0-9]{2,12}(?:-[A-Z0-9]{2,12}){0,3}",
    "GRP-ATL1",
    "GRP and one to four words of capitals and digits",
    r"(?:GRP|GROUP)?-?(?P<rest>[A-Z0-9]{2,12}(?:-[A-Z0-9]{2,12}){0,3})",
    lambda match: f"GRP-{match['rest']}",
)
PERSON = Standard(
    "person",
    r"[a-z][a-z0-9]*(?:[.-][a-z0-9]+){0,5}",
    "p-4821",
    "small letters and digits in parts joined by - or .",
)
PRODUCT = Standard(
    "product",
    r"[A-Z]{2,6}(?:-[A-Z0-9]{1,6}){1,4}",
    "ICE-VAN-1L",
    "the family, then what tells it apart, in capitals and digits joined by hyphens",
)
OWNER = Standard(
    "owner",
    r"[A-Z][A-Z0-9]*(?:-[A-Z0-9]+){0,3}",
    "COLDGRID",
    "capitals and digits in parts joined by hyphens",
)
STANDARDS = {
    standard.kind: standard
    for standard in (SITE, ZONE, LOCATION, SENSOR, ASSET, GATEWAY, LANE, GROUP, PERSON, PRODUCT, OWNER)
}


def below(field: str, name: str, parent_field: str, parent: str) -> list[Problem]:
    """A name begins with the name of what it is in."""
    if name.startswith(f"{parent}-"):
        return []
    message = f"{_shown(name)} is not named after its {parent_field} {_shown(parent)}"
    return [Problem(field=field, message=message, fix=f"begin it with {parent[:NAME_CHARS_MAX]}-")]
