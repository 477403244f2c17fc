"""WAT files as Common Crawl writes them: a gzip member for each record, CRLF headers, JSON contents."""

import gzip
import json

PAGE = "http://site.example/folder/page.html"


def image(url, **attributes):
    """A link of a page, as the WAT extractor writes it."""
    return {"path": "IMG@/src", "url": url, **{key.replace("_", "-"): text for key, text in attributes.items()}}


def page(*links, url=PAGE, base=None):
    """The content of the record of one page."""
    head = {"Title": "a page", **({} if base is None else {"Base": base})}
    html = {"Head": head, "Links": [{"path": "A@/href", "url": "/next", "text": "next"}, *links]}
    response = {"Response-Message": {"Status": "200"}, "Headers": {"Server": "x"}, "HTML-Metadata": html}
    header = {"WARC-Type": "response", "WARC-Target-URI": url, "WARC-Date": "2026-11-01T00:00:00Z"}
    envelope = {
        "Format": "WARC",
        "WARC-Header-Metadata": header,
        "Payload-Metadata": {"Actual-Content-Type": "application/http", "HTTP-Response-Metadata": response},
    }
    return {"Container": {"Filename": "CC.warc.gz", "Compressed": True, "Offset": "470"}, "Envelope": envelope}


def record(content, *, kind="metadata"):
    """One record, uncompressed; `content` is bytes, or what becomes JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {PAGE}\r\nWARC-Date: 2026-11-01T00:00:00Z\r\n"
        "WARC-Record-ID: <urn:uuid:6b8a5bb5-5c1f-4a65-8a23-000000000000>\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return header.encode() + body + b"\r\n\r\n"


def member(content, **options):
    """One record, compressed."""
    return gzip.compress(record(content, **options), mtime=0)


INFO = member(b"Software-Info: ia-web-commons\r\n", kind="warcinfo")


def wat(*contents):
    """A file."""
    return INFO + b"".join(member(content) for content in contents)
