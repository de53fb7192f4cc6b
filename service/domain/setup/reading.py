"""Reading the document from YAML: everything that is wrong in it at once, each with its line."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from service.domain.setup.document import Configuration, Item
from service.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SCALARS = {"string_type": "a text: put it in quotes if it looks like a number or a date", "bool_type": "true or false"}


def read_configuration(source: str) -> Configuration:
    """Return the document that the YAML text holds; raise Refused with every fault and its line."""
    try:
        root = yaml.compose(source, Loader=yaml.SafeLoader)
        value = yaml.safe_load(source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise _refused([f"{where}this is no YAML: {getattr(error, 'problem', None) or error}."]) from error
    except ValueError as error:
        raise _refused([f"this is no YAML: {error}."]) from error
    faults = [f"line {line}: {key!r} is there twice." for key, line in _repeated_keys(root)]
    try:
        configuration = Configuration.model_validate(value or {})
    except ValidationError as error:
        faults += [_told(root, one) for one in error.errors()]
    else:
        faults += list(_repeated_objects(root, configuration))
    if faults:
        raise _refused(faults)
    return configuration


def _refused(faults: list[str]) -> Refused:
    return Refused(Code.BULK_REFUSED, "The document cannot be read: " + " ".join(faults), errors=faults)


def _told(root: yaml.Node | None, error: Any) -> str:
    path: Sequence[Any] = error["loc"]
    node, known = _node(root, path)
    where = f"line {node.start_mark.line + 1}: " if node else ""
    # The path ends with the branches of a union, which are no keys.
    name = ".".join(str(part) for part in path[:known]) or "the document"
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(path[-1]), _siblings(path), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else f" There are {', '.join(_siblings(path))}."
        return f"{where}there is no key {'.'.join(map(str, path))}.{hint}"
    if error["type"] == "missing":
        return f"{where}{name} needs {path[-1]}."
    wanted = _SCALARS.get(error["type"])
    if wanted:
        return f"{where}{name} must be {wanted}."
    return f"{where}{name}: {error['msg'][0].lower()}{error['msg'][1:]}."


def _node(root: yaml.Node | None, path: Sequence[Any]) -> tuple[yaml.Node | None, int]:
    """Return the deepest node on the path, and how many of its parts lead there."""
    node, known = root, 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            # Of an unknown key it is the key that is shown.
            found = next((value for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
        else:
            found = None
        if found is None:
            break
        node, known = found, known + 1
    return node, known


def _siblings(path: Sequence[Any]) -> list[str]:
    """Return the keys that there are where the last one of the path is none."""
    model: Any = Configuration
    for part in path[:-1]:
        if isinstance(part, str) and hasattr(model, "model_fields"):
            field = next((field for field in model.model_fields.values() if field.alias == part), None)
            model = field and _model_in(field.annotation)
        if model is None:
            return []
    return [str(field.alias) for field in model.model_fields.values()]


def _model_in(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    return next(filter(None, map(_model_in, getattr(annotation, "__args__", ()))), None)


def _repeated_keys(node: yaml.Node | None) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.value, key.start_mark.line + 1
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)


def _repeated_objects(root: yaml.Node | None, configuration: Configuration) -> Iterator[str]:
    for name, field in Configuration.model_fields.items():
        seen = set()
        for place, item in enumerate(getattr(configuration, name)):
            assert isinstance(item, Item)  # noqa: S101 - every section is a list of them
            identity = item.identity()
            if identity in seen:
                node, _ = _node(root, (field.alias, place))
                line = f"line {node.start_mark.line + 1}: " if node else ""
                yield f"{line}{' '.join(identity)} is in {field.alias} twice."
            seen.add(identity)
