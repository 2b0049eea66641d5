"""The pages, one module each: what is asked at three in the morning, and the panels that answer.

A module of this folder has `build_pages(factory)`, which returns its page, or several; nothing else lists it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from dashboards.page import Page
from dashboards.panels import PanelFactory


def every_page(factory: PanelFactory) -> list[Page]:
    """The pages of a platform from every module of this folder, in the order in which people read them."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    pages: list[Page] = [page for module in modules for page in module.build_pages(factory)]
    return sorted(pages, key=lambda page: (page.order, page.name))
