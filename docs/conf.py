"""The documentation: Markdown pages, and a reference from the docstrings. `./dev docs` builds it."""

from __future__ import annotations

import re
from typing import Any

from aiostoolap import __version__

project = "aiostoolap"
copyright = "the contributors, Apache License 2.0"  # noqa: A001  # Sphinx's name for it
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"aiostoolap {release}"
html_show_sphinx = False
html_copy_source = False

# What docstrings have in single backticks is a name, or else code.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("Isolation", "Latency", "Parameters")}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_param = False

_MADE_BY_USERS = {"aiostoolap.Engine", "aiostoolap.Json", "aiostoolap.Vector"}
_RETURNED = {
    "_Connecting": "Awaitable[DB] | AsyncContextManager[DB]",
    "AsyncIterator[": "AsyncContextManager[",
    "Block": "AsyncContextManager[Tx]",
}


def _sign(
    app: object, what: str, name: str, item: object, options: object, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Signatures as users see them: aliases by name, no private class, no constructor that is not theirs to call."""
    if signature is None:
        return None
    if (what == "class" and name not in _MADE_BY_USERS) or what == "exception":
        return "", None
    plain = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature)
    for inner, seen in _RETURNED.items():
        returned = returned and returned.replace(inner, seen)
    return plain, returned


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", _sign)
