from pathlib import Path

from tools.docs.site import foreign


def test_what_a_page_fetches_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="https://a.example">a</a><img src="own.png"><script src="x.js"></script>'
    )
    (tmp_path / "docs" / "b.html").write_text(
        '<script src="https://b.example/b.js"></script><link rel="stylesheet" href="//c.example/c.css">'
    )
    found = [line.replace("\\", "/") for line in foreign(tmp_path)]
    assert found == ["docs/b.html fetches https://b.example/b.js", "docs/b.html fetches //c.example/c.css"]
