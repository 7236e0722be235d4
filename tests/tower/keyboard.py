"""A reader without a mouse: everything is reached with Tab, seen to be reached, and pressed with a key."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

# No page has more stops than this before what its reader came for.
MOST_STOPS = 250
FOCUSED = "e => e === document.activeElement"
SEEN = "e => getComputedStyle(e).outlineStyle !== 'none' && parseFloat(getComputedStyle(e).outlineWidth) > 0"


class Keys:
    """The keys of one page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def reach(self, wanted: Locator) -> Locator:
        """Press Tab until this, or one of these, has the focus; its ring must be seen."""
        here = [one.element_handle() for one in wanted.all()]
        assert here, f"{wanted} is not on the page"
        for _ in range(MOST_STOPS):
            self.page.keyboard.press("Tab")
            for number, one in enumerate(here):
                if one.evaluate(FOCUSED):
                    assert one.evaluate(SEEN), f"nobody sees that {wanted} has the focus"
                    return wanted.nth(number)
        raise AssertionError(f"{wanted} is not reached with Tab")

    def press(self, wanted: Locator) -> None:
        """Reach a link or button and press it, which leads to another page."""
        self.reach(wanted)
        with self.page.expect_navigation(wait_until="load"):
            self.page.keyboard.press("Enter")

    def type(self, wanted: Locator, text: str) -> None:
        """Reach a field and type into it."""
        self.reach(wanted)
        self.page.keyboard.type(text)

    def choose(self, radios: Locator, value: str) -> None:
        """Reach a group of radios and choose one with the arrows."""
        at = self.reach(radios)
        self.page.keyboard.press("Space")
        for _ in range(radios.count()):
            if radios.and_(self.page.locator(f"[value='{value}']")).is_checked():
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"{value} is not among {at}")
