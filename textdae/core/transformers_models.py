"""Make `AutoConfig` and `AutoModel` know our model classes after `import textdae`, without importing anything heavy.

The classes register themselves where they are defined, but their definition needs torch. So they are imported just after
transformers loads its tables of models.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from textdae.core.registry import installed

_TABLES = ("transformers.models.auto.configuration_auto", "transformers.models.auto.modeling_auto")


class _Watch(MetaPathFinder):
    """Watches transformers and textdae load; once a table of models is there, registers our classes and goes.

    It waits until no module of either is half loaded: our models cannot be imported while a module that they need is.
    """

    def __init__(self) -> None:
        self._half_loaded = 0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(("transformers.", "textdae.")):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def counted(module: ModuleType) -> None:
                self._half_loaded += 1
                try:
                    load(module)
                finally:
                    self._half_loaded -= 1
                if not self._half_loaded and self in sys.meta_path and _any_table():
                    sys.meta_path.remove(self)
                    _register()

            loader: Any = spec.loader
            loader.exec_module = counted
        return spec


def _any_table() -> bool:
    return any(table in sys.modules for table in _TABLES)


def _register() -> None:
    for modality in installed().values():
        for name in modality.models:
            importlib.import_module(name)


def register_models() -> None:
    """Register our classes with transformers: now if it is loaded, else as soon as it is."""
    if _any_table():
        _register()
    else:
        sys.meta_path.insert(0, _Watch())
