"""How Sphinx builds these pages: `python3 run.py docs`. Markdown, no extensions but MyST, every warning an error."""

from pathlib import Path

ABOUT = (Path(__file__).parents[1] / "django_ais/__init__.py").read_text(encoding="utf-8")

project = "django-ais"
author = "django-ais contributors"
copyright = author
release = ABOUT.partition('__version__ = "')[2].partition('"')[0]
version = release

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["changelog.d", "examples/document_intake/documents", "examples/chat/node_modules", "**/.*"]
nitpicky = True

myst_heading_anchors = 4

html_theme = "furo"
html_title = f"django-ais {release}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": True,
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
highlight_language = "text"
