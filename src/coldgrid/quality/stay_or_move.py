"""Stay or move: is it worth moving goods out of a failing zone? Moving warms goods too.

Pure functions only: a prediction with the product's lag for each way out, its price, and one rule on top.

Invariants
    S1  Goods move only if some of them cross their limit before repair and pull-down are done.
    S2  Goods move only to proven cold space (in its band for long enough, of their temperature class, with
        room for them) and only with hands to move them.
    S3  An alternative costs what it spends plus the value of the goods it is likely to lose, so a dearer
        rescue of the same goods never wins.

Units: times in minutes from now, temperatures in degrees Celsius, money in cents.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coldgrid.quality.outlook import (
    ColdSpace,
    Cover,
    Failure,
    Goods,
    Hands,
    Outlook,
    covered_legs,
    moving_legs,
    outlook,
    recovered_min,
    staying_legs,
)

# What a zone must show before goods are entrusted to it: this long inside its band.
PROVEN_MIN = 60.0


STAY = "stay, doors shut"
_NO_NEED = "nothing crosses its limit before the zone is cold again"
# Goods count as lost in words from an even chance on; in money every chance counts.
_LIKELY = 0.5


# --- Vocabulary -----------------------------------------------------------------


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One way out. `score_cents` None: ruled out, `why` says by what. `peak_c`: the warmest any goods get."""

    name: str
    moves: bool
    score_cents: int | None
    cost_cents: int
    loss_cents: int
    lost_products: tuple[str, ...]
    peak_c: float
    why: str


class Rule(msgspec.Struct, frozen=True):
    """A rule that no score outweighs, and whether the chosen option kept it."""

    name: str
    ok: bool
    why: str


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, and what it was weighed against. `crosses_min`: when staying first crosses a limit."""

    outcome: str
    why: str
    options: tuple[Option, ...]
    rules: tuple[Rule, ...]
    crosses_min: float | None
    recovered_min: float | None


# --- The choice -----------------------------------------------------------------


def stay_or_move(
    goods: Sequence[Goods],
    failure: Failure,
    covers: Sequence[Cover],
    spaces: Sequence[ColdSpace],
    hands: Hands,
) -> Advice:
    """Rank every way out and choose the cheapest that keeps S1 and S2.

    A score is what an option costs plus the value it is likely to lose, in cents; the lowest wins, staying
    before moving where they tie. Room for some of the goods takes the most valuable per pallet first.

    Raises:
        ValueError: there are no goods to decide about.
    """
    if not goods:
        raise ValueError("there are no goods to decide about")
    staying = [outlook(failure, staying_legs(failure), each) for each in goods]
    crossed = [each.crossed_min for each in staying if each.crossed_min is not None]
    options = [_option(STAY, False, 0, goods, staying)]
    options += [_cover_option(goods, failure, cover, hands, staying) for cover in covers]
    options += [_move_option(goods, failure, space, hands, staying, bool(crossed)) for space in spaces]
    ranked = sorted(
        options, key=lambda option: (option.score_cents is None, option.score_cents or 0, option.moves)
    )
    chosen = ranked[0]
    return Advice(
        outcome=chosen.name,
        why=_why(chosen, crossed, recovered_min(failure)),
        options=tuple(ranked),
        rules=_rules(chosen, ranked, bool(crossed)),
        crosses_min=min(crossed, default=None),
        recovered_min=recovered_min(failure),
    )


def _option(
    name: str, moves: bool, cost_cents: int, goods: Sequence[Goods], outlooks: Sequence[Outlook]
) -> Option:
    loss_cents = round(sum(each.value_cents * out.lost for each, out in zip(goods, outlooks, strict=True)))
    likely = [each.product_id for each, out in zip(goods, outlooks, strict=True) if out.lost >= _LIKELY]
    lost = tuple(dict.fromkeys(likely))
    products = {each.product_id for each in goods}
    peak_c = max(out.peak_c for out in outlooks)
    kept = "keeps everything within its limit" if not loss_cents else "leaves a risk"
    if lost:
        kept = f"loses {len(lost)} of {len(products)} products"
    return Option(
        name=name,
        moves=moves,
        score_cents=cost_cents + loss_cents,
        cost_cents=cost_cents,
        loss_cents=loss_cents,
        lost_products=lost,
        peak_c=peak_c,
        why=f"{kept}, warmest {peak_c:.1f} °C",
    )


def _ruled_out(option: Option, why: str) -> Option:
    return msgspec.structs.replace(option, score_cents=None, why=why)


def _cover_option(
    goods: Sequence[Goods], failure: Failure, cover: Cover, hands: Hands, staying: Sequence[Outlook]
) -> Option:
    legs = covered_legs(failure, cover, hands)
    under = [outlook(failure, legs, each) for each in goods]
    share = _shares(goods, cover.pallets, None)
    moves = cover.handled_min > 0
    option = _option(cover.name, moves, cover.cost_cents, goods, _mixed(under, staying, share))
    if moves and all(each.crossed_min is None for each in staying):
        return _ruled_out(option, _NO_NEED)
    if not cover.available:
        return _ruled_out(option, "not to be had here tonight")
    if cover.needs_hands and hands.people < 1:
        return _ruled_out(option, "nobody is there to do it")
    return option


def _move_option(
    goods: Sequence[Goods],
    failure: Failure,
    space: ColdSpace,
    hands: Hands,
    staying: Sequence[Outlook],
    crosses: bool,
) -> Option:
    share = _shares(goods, space.free_pallets, space.temperature_class)
    pallets = sum(each.pallets * part for each, part in zip(goods, share, strict=True))
    why = _obstacle(space, hands, pallets, crosses)
    if why:
        return _ruled_out(_option(space.name, True, space.cost_cents, goods, staying), why)
    legs = moving_legs(failure, space, hands, pallets)
    moved = _mixed([outlook(failure, legs, each) for each in goods], staying, share)
    option = _option(space.name, True, space.cost_cents, goods, moved)
    if min(share) < 1:
        option = msgspec.structs.replace(option, why=f"{option.why}, room for {pallets:.0f} pallets")
    return option


def _obstacle(space: ColdSpace, hands: Hands, pallets: float, crosses: bool) -> str:
    """Why nothing may move to a cold space, empty when it may (S1, S2)."""
    if not crosses:
        return _NO_NEED
    if hands.people < 1 or hands.pallets_per_h <= 0:
        return "nobody is there to move it"
    if space.in_band_min < PROVEN_MIN:
        return f"not proven: in its band for {space.in_band_min:.0f} of {PROVEN_MIN:.0f} min"
    return "" if pallets > 0 else "no room of the goods' temperature class"


def _shares(goods: Sequence[Goods], room_pallets: float, temperature_class: str | None) -> list[float]:
    """Which part of each kind of goods finds room, the most valuable per pallet first."""
    share = [0.0] * len(goods)
    order = sorted(range(len(goods)), key=lambda i: -goods[i].value_cents / max(goods[i].pallets, 1e-9))
    for i in order:
        if temperature_class is not None and goods[i].temperature_class != temperature_class:
            continue
        share[i] = 1.0 if goods[i].pallets <= room_pallets else max(room_pallets, 0.0) / goods[i].pallets
        room_pallets -= goods[i].pallets * share[i]
    return share


def _mixed(there: Sequence[Outlook], here: Sequence[Outlook], share: Sequence[float]) -> list[Outlook]:
    """The outlook of goods of which a part goes there and the rest stays here."""
    return [
        Outlook(
            a.peak_c if part >= 1 else b.peak_c if part <= 0 else max(a.peak_c, b.peak_c),
            a.crossed_min if part >= 1 else b.crossed_min,
            part * a.lost + (1 - part) * b.lost,
        )
        for a, b, part in zip(there, here, share, strict=True)
    ]


def _why(chosen: Option, crossed: Sequence[float], recovered: float | None) -> str:
    cold = "no repair is promised" if recovered is None else f"the zone is cold again in {recovered:.0f} min"
    if not crossed:
        return f"nothing crosses its limit; {cold}"
    first = f"staying, the first goods may cross their limit in {min(crossed):.0f} min and {cold}"
    return f"{first}; {chosen.name} {chosen.why}"


def _rules(chosen: Option, options: Sequence[Option], crosses: bool) -> tuple[Rule, ...]:
    refused = [
        f"{option.name}: {option.why}" for option in options if option.moves and option.score_cents is None
    ]
    return (
        Rule(
            "moves only if goods would cross their limit",
            not chosen.moves or crosses,
            "some would" if crosses else "none would",
        ),
        Rule(
            "moves only to proven cold space with hands",
            chosen.score_cents is not None,
            "; ".join(refused) or "every place on the list is proven",
        ),
    )
