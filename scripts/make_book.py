"""Lays the pages out for mdBook: python3 scripts/make_book.py FOLDER

The book's contents are the table of docs/README.md; the pages stay at their paths, so that links work in the book as they do in the repository.
"""

import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OTHERS = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "benches/README.md", "fixtures/README.md"]


def main() -> None:
    book = pathlib.Path(sys.argv[1])
    source = book / "src"
    shutil.rmtree(book, ignore_errors=True)
    (source / "docs").mkdir(parents=True)
    for page in sorted((ROOT / "docs").iterdir()):
        if page.suffix in {".md", ".svg", ".json"}:
            shutil.copy(page, source / "docs" / page.name)
    for name in OTHERS:
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    rows = re.findall(r"^\| \[([^]]+)\]\(([^)]+)\) \|", (ROOT / "docs/README.md").read_text(), re.MULTILINE)
    lines = ["# Summary", "", "[advmod](README.md)", "[All pages](docs/README.md)", ""]
    for title, link in rows:
        path = (ROOT / "docs" / link).resolve().relative_to(ROOT)
        lines.append(f"- [{title}]({path})")
    lines += ["- [Architecture](ARCHITECTURE.md)", "- [Changes](CHANGELOG.md)", ""]
    (source / "SUMMARY.md").write_text("\n".join(lines))
    (book / "book.toml").write_text('[book]\ntitle = "advmod"\nlanguage = "en"\nsrc = "src"\n')


if __name__ == "__main__":
    main()
