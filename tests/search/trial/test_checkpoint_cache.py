"""The cache of trained stages: entries come back, the oldest go, and processes do not disturb each other."""

import multiprocessing
import os
import random
import time
from pathlib import Path

import torch

from paredown.search.trial.checkpoint_cache import CheckpointCache

KB = 1000


def entry(kilobytes: int, value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((kilobytes * KB // 4,), value)}


def keys(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.safetensors")}


def test_an_entry_comes_back(tmp_path: Path) -> None:
    cache = CheckpointCache(tmp_path / "cache", 1e6)
    assert cache.get("a") is None
    cache.put("a", {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(7)}, {"told": "it"})
    stored = CheckpointCache(tmp_path / "cache", 1e6).get("a")
    assert stored is not None
    assert torch.equal(stored.state["w"], torch.arange(6.0).reshape(2, 3))
    assert stored.state["n"].item() == 7
    assert stored.notes == {"told": "it"}
    assert cache.get("b") is None


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    cache = CheckpointCache(tmp_path, 35 * KB)
    for at, key in enumerate("abc"):
        cache.put(key, entry(10), {})
        os.utime(tmp_path / f"{key}.safetensors", (at + 1, at + 1))
    assert cache.get("a") is not None, "used again, so b is the oldest now"
    cache.put("d", entry(10), {})
    assert keys(tmp_path) == {"a", "c", "d"}


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = CheckpointCache(tmp_path, 5 * KB)
    cache.put("small", entry(4), {})
    cache.put("large", entry(10), {})
    assert keys(tmp_path) == {"small"}


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    cache = CheckpointCache(tmp_path, 1e6)
    (tmp_path / "a.safetensors").write_bytes(b"cut off")
    assert cache.get("a") is None
    cache.put("a", entry(1, 3.0), {})
    stored = cache.get("a")
    assert stored is not None
    assert (stored.state["weight"] == 3).all()


def test_what_killed_writers_left_goes_in_time(tmp_path: Path) -> None:
    for name, age in ((".new-old", 7200), (".new-fresh", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "entry").write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    CheckpointCache(tmp_path, 1e6).put("a", entry(1), {})
    assert {p.name for p in tmp_path.iterdir()} == {".new-fresh", "a.safetensors"}


def test_what_others_left_in_the_folder_stays(tmp_path: Path) -> None:
    long_ago = (time.time() - 7200,) * 2
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".new-old" / "inner").mkdir(parents=True)
    for name in ("notes.txt", ".new-old"):
        os.utime(tmp_path / name, long_ago)
    CheckpointCache(tmp_path, 1e6).put("a", entry(1), {})
    assert {p.name for p in tmp_path.iterdir()} == {"notes.txt", "a.safetensors"}


def write_and_read(folder: str, seed: int, wrong: "multiprocessing.SimpleQueue[str]") -> None:
    """Put and get entries of few keys in a cache that holds three; say what came back wrong."""
    cache = CheckpointCache(Path(folder), 35 * KB)
    draws = random.Random(seed)  # a fixed round of six keys would find nothing in a cache of three
    found = 0
    try:
        for _ in range(60):
            number = draws.randrange(6)
            stored = cache.get(f"key{number}")
            if stored is None:
                cache.put(f"key{number}", entry(10, float(number)), {"number": str(number)})
            else:
                found += 1
                if stored.notes["number"] != str(number) or not (stored.state["weight"] == number).all():
                    wrong.put(f"key{number} holds something else")
        wrong.put("" if found else "nothing was ever found")
    except Exception as error:  # the process would die in silence
        wrong.put(f"{type(error).__name__}: {error}")
        raise


def test_processes_write_and_delete_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    said = context.SimpleQueue()
    workers = [context.Process(target=write_and_read, args=(str(tmp_path), seed, said)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    messages = []
    while not said.empty():
        messages.append(said.get())
    assert messages == [""] * 3
    assert len(keys(tmp_path)) <= 3
    assert not list(tmp_path.glob(".new-*"))
