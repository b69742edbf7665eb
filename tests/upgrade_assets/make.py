"""Make the database of the present schema, once: `python tests/upgrade_assets/make.py NUMBER`; never remade."""

import sqlite3
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "studies"))

from toy_study import CONFIG, objectives, run  # noqa: E402

from paredown.search.samplers.catalogue import SAMPLERS  # noqa: E402
from paredown.search.samplers.sampler import Problem  # noqa: E402
from paredown.studies.study import Study  # noqa: E402


def main(number: str) -> None:
    file = HERE / f"schema_{number}.db"
    study = Study.create(f"sqlite:///{file}", "toy", CONFIG, objectives(), "out")
    study.use(SAMPLERS["random"](Problem(0, 20)))
    run(study, 2)
    study._storage.engine.dispose()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("VACUUM")
    connection.close()


main(sys.argv[1])
