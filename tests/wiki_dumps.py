"""Dumps in the true format, made on the spot: a multistream file of pages, with its index."""

import bz2
from dataclasses import dataclass
from xml.sax.saxutils import escape

HEADER = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="10" case="first-letter">Template</namespace>
    </namespaces>
  </siteinfo>
"""
FOOTER = "</mediawiki>\n"


def page_xml(title, text, *, page_id=1, namespace=0, redirect=None):
    redirect_tag = f'    <redirect title="{escape(redirect)}" />\n' if redirect else ""
    return f"""  <page>
    <title>{escape(title)}</title>
    <ns>{namespace}</ns>
    <id>{page_id}</id>
{redirect_tag}    <revision>
      <id>{page_id + 1000}</id>
      <timestamp>2024-05-01T00:00:00Z</timestamp>
      <contributor><username>A</username><id>7</id></contributor>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="{len(text.encode())}" xml:space="preserve">{escape(text)}</text>
    </revision>
  </page>
"""


@dataclass
class Dump:
    """The bytes of a multistream dump and of its index, and where its streams of pages begin."""

    content: bytes
    index: bytes
    offsets: list[int]


def make_dump(pages, *, pages_per_stream=2):
    """`pages` are XML of <page> elements, or (title, text)."""
    sources = [page if isinstance(page, str) else page_xml(*page, page_id=i) for i, page in enumerate(pages)]
    content, lines, offsets = bz2.compress(HEADER.encode()), [], []
    for first in range(0, len(sources), pages_per_stream):
        stream = sources[first : first + pages_per_stream]
        offsets.append(len(content))
        lines += [f"{len(content)}:{first + i}:Title: {first + i}\n" for i in range(len(stream))]
        content += bz2.compress("".join(stream).encode())
    content += bz2.compress(FOOTER.encode())
    return Dump(content, bz2.compress("".join(lines).encode()), offsets)
