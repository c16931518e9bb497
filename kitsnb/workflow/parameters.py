"""What a notebook can be told: names, types and defaults of its parameters cell, read without starting a kernel.

papermill only warns about an unknown parameter and takes a value of any type; ``check`` refuses both.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

#: Types a parameter can have, by the name that an annotation gives them. YAML has no tuple: a list stands for it.
TYPES = {"bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict, "tuple": list}


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell; ``types`` is None where anything goes (default None, no annotation)."""

    name: str
    types: tuple[type, ...] | None
    default: object

    @property
    def described(self) -> str:
        names = ["None" if kind is type(None) else kind.__name__ for kind in self.types or ()]
        return " or ".join(names) or "anything"

    def accept(self, value: object) -> object:
        """``value`` in the parameter's type. An int becomes a float where a float is meant; a bool is never a number.

        Raises TypeError for any other type. Elements of lists and dicts are not checked.
        """
        if self.types is None or type(value) in self.types:
            return value
        if type(value) is int and float in self.types:
            return float(value)
        raise TypeError(f"is {self.described}, not {type(value).__name__} {value!r}")


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Parameters of a py:percent notebook, by name, in the order of its cell tagged "parameters".

    Raises ValueError where the notebook is missing, holds not exactly one such cell, or where the cell holds anything
    but assignments of literals.
    """
    import jupytext

    if not notebook.is_file():
        raise ValueError(f"notebook {notebook} does not exist")
    cells = [cell for cell in jupytext.read(notebook).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f'notebook {notebook}: {len(cells)} cells are tagged "parameters"; it needs exactly one')
    try:
        found = [_parameter(statement) for statement in ast.parse(cells[0].source).body if not _is_prose(statement)]
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"notebook {notebook}: parameters cell: {error}") from error
    return {parameter.name: parameter for parameter in found}


def _is_prose(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _parameter(statement: ast.stmt) -> Parameter:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            annotation = None
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            pass
        case _:
            raise ValueError(f"line {statement.lineno} is no assignment of one literal: {ast.unparse(statement)}")
    try:
        default = ast.literal_eval(value)
    except ValueError as error:
        raise ValueError(f"{name} = {ast.unparse(value)} is no literal") from error
    if annotation is not None:
        return Parameter(name, _annotated(annotation), default)
    if default is None:
        return Parameter(name, None, default)
    return Parameter(name, (TYPES.get(type(default).__name__, type(default)),), default)


def _annotated(annotation: ast.expr) -> tuple[type, ...]:
    """Types an annotation such as ``str | None``, ``Optional[int]`` or ``list[float]`` allows."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _annotated(left) + _annotated(right)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _annotated(inner) + (type(None),)
        case ast.Subscript(value=outer):
            return _annotated(outer)
        case ast.Constant(value=None):
            return (type(None),)
        case ast.Constant(value=str(text)):
            return _annotated(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in TYPES:
            return (TYPES[name],)
    raise ValueError(f"annotation {ast.unparse(annotation)} is none of {', '.join(TYPES)}, None and their unions")
