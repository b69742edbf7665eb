"""What a server reads of a study at each request: one trial, pages that are narrowed, importances."""

from pathlib import Path

from toy_study import objectives, open_study, run

from paredown.studies.database_to_read import open_to_read
from paredown.studies.reading import StudyReader


def test_a_reader_finds_a_trial_pages_of_some_numbers_and_importances(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 12)
    reader = StudyReader.of(open_to_read(study.address), study.name, lambda config: objectives())
    assert reader is not None
    total, page = reader.page(numbers=[2, 5, 99], sort="accuracy", descending=True)
    assert total == 2
    assert {row["trial"] for row in page} == {2, 5}
    assert page[0]["metrics"]["accuracy"] >= page[1]["metrics"]["accuracy"]
    assert reader.page(numbers=[])[0] == 0
    one = reader.trial(5)
    assert one is not None
    assert {key: one[key] for key in page[0]} == next(row for row in page if row["trial"] == 5)
    assert one["artifact"] == study.models()[5].artifact
    assert reader.trial(99) is None
    assert reader.importances("accuracy") == study.importances("accuracy")
    assert len(reader.importances("accuracy")) > 1
