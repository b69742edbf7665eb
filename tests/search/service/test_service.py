"""Studies over HTTP from the submission to the model on disk, on both databases, with a worker beside the server."""

import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import STUDY, Running, server, wait_until

pytest.importorskip("fastapi")

from paredown.search.api.client import Client, RemoteStudy, ServerRefused
from paredown.studies.prediction import predict_images

pytestmark = pytest.mark.timeout(400)
in_a_file = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""What differs between databases is shown by the first test here and by those of the queue."""
LONG = {"trials": 500, "training": {"epochs": 1, "finetune_epochs": 1, "batch_size": 64}}


@pytest.fixture
def running(database: str, tmp_path: Path) -> Iterator[Running]:
    if database.startswith("postgresql"):
        Running("", database, None).token("someone", "admin")  # type: ignore[arg-type]
    with server(tmp_path, database, "--token-file", "admin-token") as found:
        yield found


@pytest.fixture
def client(running: Running) -> Client:
    return running.client(f"alice-{secrets.token_hex(4)}")


def until_trials(study: RemoteStudy, number: int) -> None:
    wait_until(lambda: study.counts.get("done", 0) >= number, f"{number} trials of {study.name}: {study.details()}")


@pytest.mark.slow
def test_a_study_is_submitted_runs_and_gives_its_models(running: Running, client: Client, tmp_path: Path) -> None:
    study = client.submit(STUDY, key="once")
    assert client.submit(STUDY, key="once").name == study.name == "digits"
    assert len(client.studies()) == 1
    states = [event["state"] for event in study.progress()]
    assert states[-1] == "done"
    assert study.wait(200) == "done", study.details()
    assert study.counts["done"] == 2

    front = study.front()
    assert front["objectives"] == STUDY["objectives"]
    assert front["study"] == "digits"
    assert front["models"]
    assert front["baseline"]["trial"] == 0
    best = study.select(max={"size_bytes": "10M"})
    assert best["metrics"]["accuracy"] == max(model["metrics"]["accuracy"] for model in front["models"])
    with pytest.raises(ServerRefused, match="size_bytes"):
        study.select(max={"size_bytes": 1})

    page = study.trials(sort="size_bytes", order="desc", limit=1)
    assert page["total"] == 2
    assert page["trials"][0]["trial"] == 0, "the baseline is the largest"
    assert study.trials(sort="size_bytes", order="desc", limit=1, offset=1)["trials"][0]["trial"] == 1
    assert study.trials(state="failed") == {"total": 0, "trials": []}
    with pytest.raises(ServerRefused, match=r"sort: 'reason; DROP TABLE' is not allowed; allowed: number, .*accuracy"):
        study.trials(sort="reason; DROP TABLE")

    with pytest.raises(ServerRefused, match=r"state: 'a\\x00b' does not exist; allowed: running"):
        study.trials(state="a\0b")
    with pytest.raises(ServerRefused, match=r"no study 'a\\x00b'"):
        client.open_study("a\0b")

    log = study.log()
    assert "trial 1 done" in log["text"]
    assert study.log(log["next_offset"]) == {"text": "", "next_offset": log["next_offset"], "ended": True}
    (folder, *_) = study.export(out=tmp_path / "mine")
    assert json.loads((folder / "manifest.json").read_text())["study"].endswith(".digits")
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "one.png")
    assert predict_images(folder, [tmp_path / "one.png"])[0]["class"]
    assert "<html" in study.report(tmp_path / "report.html").read_text()

    with pytest.raises(ServerRefused, match=r"mbconv\.widht"):
        study.enqueue({"mbconv.widht": 1.5})
    assert study.enqueue({"mbconv.kernel": 5})["candidate"]["knobs"]["kernel"] == 5
    study.extend(3)
    assert study.wait(200) == "done"
    assert sum(study.counts.get(state, 0) for state in ("done", "failed", "stopped")) == 3
    assert study.trials(sort="number", order="desc")["trials"][0]["candidate"]["knobs"]["kernel"] == 5
    with pytest.raises(ServerRefused, match="trials: 3 is not more than 3"):
        study.extend(3)
    owner = study.details()["owner"]
    assert (tmp_path / "paredown-out" / owner / "digits").exists()
    study.delete()
    assert client.studies() == []
    assert not (tmp_path / "paredown-out" / owner / "digits").exists()
    assert client.submit(STUDY).state in ("queued", "running"), "the name is free again"
    running.ask("/v1/studies/digits/cancel", running.token(owner, "submit"), "POST", b"")


@in_a_file
@pytest.mark.slow
def test_a_running_study_is_paused_goes_on_and_is_cancelled(client: Client) -> None:
    study = client.submit(STUDY | LONG)
    until_trials(study, 2)
    study.pause()
    wait_until(lambda: study.state == "paused", "paused")
    counts = study.counts
    assert counts["done"] >= 2
    assert not {"running", "failed"} & set(counts), "nothing is lost, nothing hangs"
    assert study.details()["search"] is None, "its process has ended"
    study.resume()
    until_trials(study, counts["done"] + 1)
    with pytest.raises(ServerRefused, match="is being cancelled; delete it when it has ended"):
        study.delete()
    wait_until(lambda: study.state == "cancelled", "cancelled, as a deletion asks")
    assert study.counts["done"] > counts["done"]
    study.delete()


@in_a_file
@pytest.mark.slow
def test_what_is_refused_is_said_as_on_the_command_line(running: Running, client: Client, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("study: x\ntask: digits\nobjectives: [accuracy, macs]\nepochs: 3\n")
    with pytest.raises(ServerRefused, match=r"^s.yaml: epochs: no such key; allowed: study, task") as refused:
        client.submit(tmp_path / "s.yaml")
    assert refused.value.status == 422
    attack: dict[str, Any] = {"sampler": "os:system"}
    with pytest.raises(ServerRefused, match="'os:system' is not allowed on this server"):
        client.submit(STUDY | attack)
    with pytest.raises(ServerRefused, match="on_finish: a server runs no shell commands"):
        client.submit(STUDY | {"on_finish": "true"})
    with pytest.raises(ServerRefused, match="cannot be read: No such file"):
        client.submit(tmp_path / "absent.yaml")
    assert client.studies() == []
    with pytest.raises(ServerRefused, match="no study 'digits'"):
        client.open_study("digits")
    running.process.send_signal(signal.SIGINT)
    running.process.wait(60)
    with pytest.raises(ServerRefused, match="cannot be reached"):
        client.studies()
