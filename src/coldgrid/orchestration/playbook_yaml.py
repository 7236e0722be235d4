"""YAML without surprises: JSON values only, no anchors, no duplicate keys, and the line of every field."""

from __future__ import annotations

from typing import Any

import yaml

from coldgrid.kernel.rejections import Invalid, Problem

BYTES_MAX = 262_144
DEPTH_MAX = 24
_PLAIN = {
    f"tag:yaml.org,2002:{name}": convert
    for name, convert in (
        ("str", str),
        ("int", lambda text: int(text.replace("_", ""), 0)),
        ("float", lambda text: float(text.replace("_", ""))),
        # As in YAML 1.2: yes, no, on and off are words.
        ("bool", lambda text: {"true": True, "false": False}.get(text.lower(), text)),
        ("null", lambda text: None),
    )
}


class NotYaml(Invalid):
    """The text is not the plain YAML that is read here."""


def read_yaml(source: str) -> tuple[Any, dict[str, int]]:
    """Return a document's value, and the line (from 1) of each field as `steps[2].ask.role`.

    Raises:
        NotYaml: too long or deep, not YAML, an alias, a key twice, or a value that JSON does not have.
    """
    if len(source.encode()) > BYTES_MAX:
        raise NotYaml(problems=[Problem(field="", message=f"is longer than {BYTES_MAX} bytes")])
    try:
        anchored = [token for token in yaml.scan(source, Loader=yaml.SafeLoader) if _is_anchor(token)]
        if anchored:
            lines = [token.start_mark.line + 1 for token in anchored]
            raise NotYaml(
                problems=[
                    Problem(field="", message="anchors and aliases are not read", line=n) for n in lines
                ]
            )
        root = yaml.compose(source, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        message = getattr(error, "problem", None) or str(error)
        raise NotYaml(problems=[Problem(field="", message=str(message), line=line)]) from None
    except RecursionError:
        raise NotYaml(problems=[Problem(field="", message=f"is nested deeper than {DEPTH_MAX}")]) from None
    reader = _Reader()
    value = reader.value(root, "", 0) if root is not None else None
    if reader.problems:
        raise NotYaml(problems=reader.problems)
    return value, reader.lines


def _is_anchor(token: yaml.Token) -> bool:
    return isinstance(token, yaml.AnchorToken | yaml.AliasToken)


class _Reader:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, at: str, depth: int) -> Any:
        self.lines[at] = node.start_mark.line + 1
        if depth > DEPTH_MAX:
            self._wrong(node, at, f"is nested deeper than {DEPTH_MAX}")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, f"{at}[{i}]", depth + 1) for i, child in enumerate(node.value)]
        convert = _PLAIN.get(node.tag)
        try:
            if convert is not None:
                return convert(node.value)
        except ValueError:
            convert = None
        self._wrong(node, at, f"{node.value!r} is no text, number, true, false or null; quote it")
        return None

    def _mapping(self, node: yaml.MappingNode, at: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, child in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not name:
                self._wrong(key, at, "a key is a word")
            elif name in found:
                self._wrong(key, f"{at}.{name}".lstrip("."), "is there twice")
            found[name] = self.value(child, f"{at}.{name}".lstrip("."), depth + 1)
            self.lines[f"{at}.{name}".lstrip(".")] = key.start_mark.line + 1
        return found

    def _wrong(self, node: yaml.Node, at: str, message: str) -> None:
        self.problems.append(Problem(field=at, message=message, line=node.start_mark.line + 1))
