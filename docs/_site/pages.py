"""A hook of MkDocs: pages that live outside of docs/, links that a checkout and the site read alike, nothing from afar.

Links are written as they lead in a checkout. A link to a file that is a page leads to that page, and has its title if
it was called by the file's name; a link to any other file of the checkout (a folder of a plugin, say) is left as its
text.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "docs/examples/tracelet-jsonl/README.md": "plugins/tracelet-jsonl.md",
    "plugins/tracelet-aim/README.md": "plugins/tracelet-aim.md",
    "plugins/tracelet-clearml/README.md": "plugins/tracelet-clearml.md",
    "plugins/tracelet-mlflow/README.md": "plugins/tracelet-mlflow.md",
    "plugins/tracelet-wandb/README.md": "plugins/tracelet-wandb.md",
}
"""Files of the checkout outside of the site's own folder, and where on the site each is a page."""

_PLACES = {page: file for file, page in OUTSIDE.items()}
_LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:)(?P<path>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
_TITLE = re.compile(r"^# (?P<title>.+)$", re.M)
_CODE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1$", re.M | re.S)
_LOADED = re.compile(r"<(?:script|img|iframe|source|audio|video)[^>]* src=[\"']?(?:https?:)?//[^>]*>", re.I)
_STYLED = re.compile(r"<link(?=[^>]* rel=[\"']?(?:stylesheet|preconnect|preload|icon))[^>]*(?:https?:)?//[^>]*>", re.I)
_IMPORTED = re.compile(r"(?:@import|url\()[\"' ]*(?:https?:)?//[^;)]*", re.I)

log = logging.getLogger("mkdocs.hooks.pages")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    for file, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(root / file)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    at = page.file.src_uri
    folder = posixpath.dirname(_PLACES.get(at, f"docs/{at}"))
    root = Path(config.config_file_path).parent

    def lead(link: re.Match[str]) -> str:
        text, path, anchor = link["text"], link["path"], link["anchor"] or ""
        if not path:
            return link.group()
        target = posixpath.normpath(posixpath.join(folder, path))
        uri = OUTSIDE.get(target) or OUTSIDE.get(f"{target}/README.md") or target.removeprefix("docs/")
        if files.get_file_from_path(uri) is None or (uri == target and target not in OUTSIDE):
            if not (root / target).exists():
                log.warning(f"{at}: {link.group()} leads nowhere")
            return text
        if text == path:
            text = _title((root / target).read_text(), text)
        return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(at) or '.')}{anchor})"

    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(lead, markdown[end : code.start()]), code.group()]
        end = code.end()
    return "".join((*parts, _LINK.sub(lead, markdown[end:])))


def _title(markdown: str, default: str) -> str:
    found = _TITLE.search(markdown)
    return found["title"] if found else default


def on_post_build(config: MkDocsConfig) -> None:
    site = Path(config.site_dir)
    for pattern, suffix in ((_LOADED, "html"), (_STYLED, "html"), (_IMPORTED, "css")):
        for path in site.rglob(f"*.{suffix}"):
            for found in pattern.findall(path.read_text()):
                log.warning(f"{path.relative_to(site)} loads something from another host: {found}")
