"""The frame of every page: one self-contained file that loads nothing and runs at most the one script of the report."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from allocator.reporting.markup import text


def shell(title: str, body: str, *, script: bool = False, style: str = "") -> str:
    """Return an HTML page.

    Parameters
    ----------
    title
        Of the window; escaped here.
    body
        HTML that is safe already.
    script
        Whether sliders of charts, sorting and the like are to work; a page of text and pictures needs none.
    style
        Rules that this page alone needs, after those of all pages.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    running = ""
    if script:
        code = _resource("script.js")
        # The page may run this one script and nothing else, and may load nothing at all.
        policy += f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
        running = f"<script>{code}</script>\n"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{text(title)}</title>
<style>
{_resource("style.css")}{style}</style>
</head>
<body>
<main>
{body}</main>
{running}</body>
</html>
"""


def _resource(file: str) -> str:
    return files("allocator.reporting").joinpath(file).read_text(encoding="utf-8")
