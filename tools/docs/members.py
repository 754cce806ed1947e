"""What the docstrings behind an enumeration's members say; Python itself does not keep them."""

import ast
import inspect
from enum import Enum

from tools.docs.markdown import one_line


def meanings(enumeration: type[Enum]) -> dict[str, str]:
    """Return what each member means, by its name, in the order of the source.

    Raises:
        LookupError: a member has no docstring.
    """
    body = ast.parse(inspect.getsource(enumeration)).body[0]
    if not isinstance(body, ast.ClassDef):
        raise TypeError(f"{enumeration} is not written as a class")
    found: dict[str, str] = {}
    for statement, after in zip(body.body, [*body.body[1:], None], strict=True):
        match statement, after:
            case ast.Assign(targets=[ast.Name(name)]), ast.Expr(ast.Constant(str(text))):
                found[name] = one_line(text)
    missing = [member.name for member in enumeration if member.name not in found]
    if missing:
        raise LookupError(f"{enumeration.__name__}: say below {', '.join(missing)} what it means")
    return found
