"""The snippets of docs/python.md, run in order as a reader would."""

import re
from pathlib import Path

import pytest
from servers import server

pytest.importorskip("fastapi")

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_snippets_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = PAGE.read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAREDOWN_STORAGE", raising=False)
    names: dict[str, object] = {"__name__": "page"}
    snippets = list(SNIPPET.finditer(page))
    assert len(snippets) >= 10
    (tmp_path / "server").mkdir()
    with server(
        tmp_path / "server", f"sqlite:///{tmp_path / 'server/paredown.db'}", "--token-file", "token"
    ) as running:
        monkeypatch.setenv("PAREDOWN_URL", running.url)
        monkeypatch.setenv("PAREDOWN_TOKEN", running.token("alice", "submit"))
        for snippet in snippets:
            line = page.count("\n", 0, snippet.start(1))
            exec(compile("\n" * line + snippet.group(1), str(PAGE), "exec"), names)

    study, front, frame = names["study"], names["front"], names["frame"]
    assert repr(study) == "<Study 'small': 3 done>"
    assert repr(front).startswith("trial")
    assert {"accuracy", "delta_size_bytes", "family", "compression"} <= set(frame.columns)  # type: ignore[attr-defined]
    assert len(frame) == len(front)  # type: ignore[arg-type]
    assert Path("paredown-out/small/report.html").is_file()
    assert Path("compressed/model.onnx").is_file()
    assert Path("compressed-resnet/model.onnx").is_file()
    assert Path("from-the-server/trial-0000/model.onnx").is_file()
    printed = capsys.readouterr().out
    assert "3 done" in printed
    assert "metric 'latency' does not exist; allowed: accuracy" in printed
