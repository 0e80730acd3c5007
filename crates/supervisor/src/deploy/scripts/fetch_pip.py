"""Fetches pip's newest wheel that this Python can run into the folder given, and prints its path.

The wheel's SHA-256 must be the one that the index states (PEP 503, PEP 691), so it is only as trusted as the index is.
Uses the standard library alone: it runs where neither uv nor ensurepip exists.
"""
import hashlib, json, os, re, sys, urllib.parse, urllib.request

INDEX = os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


def candidates(page, kind, base):
    """Yields (version, url, sha256) of each wheel that this Python can run."""
    if "json" in kind:
        files = [(f["filename"], f["url"], f["hashes"].get("sha256"), f.get("requires-python"), f.get("yanked"))
                 for f in json.loads(page)["files"]]
    else:
        files = []
        for attributes, name in re.findall(r"<a\s([^>]*)>\s*([^<]+?)\s*</a>", page):
            link = re.search(r'href="([^"#]+)#sha256=([0-9a-f]{64})"', attributes)
            wants = re.search(r'data-requires-python="([^"]*)"', attributes)
            if link:
                files.append((name, link[1], link[2], wants and wants[1].replace("&gt;", ">"), "data-yanked" in attributes))
    for name, url, digest, wants, yanked in files:
        version = re.fullmatch(r"pip-(\d+(?:\.\d+)*)-py3-none-any\.whl", name)
        oldest = re.search(r">=\s*(\d+)\.(\d+)", wants or "")
        if not version or not digest or yanked:
            continue
        if oldest and sys.version_info[:2] < (int(oldest[1]), int(oldest[2])):
            continue
        yield tuple(map(int, version[1].split("."))), urllib.parse.urljoin(base, url), digest, name


def main():
    request = urllib.request.Request(INDEX.rstrip("/") + "/pip/", headers={"Accept": ACCEPT})
    with urllib.request.urlopen(request, timeout=30) as answer:
        page = answer.read().decode()
        found = list(candidates(page, answer.headers.get("Content-Type", ""), answer.url))
    if not found:
        sys.exit("the index at %s has no pip for this Python" % INDEX)
    _, url, digest, name = max(found)
    with urllib.request.urlopen(url, timeout=60) as answer:
        wheel = answer.read()
    if hashlib.sha256(wheel).hexdigest() != digest:
        sys.exit("the hash of %s is not the one that the index states" % url)
    path = os.path.join(sys.argv[1], name)
    with open(path, "wb") as file:
        file.write(wheel)
    print(path)


main()
