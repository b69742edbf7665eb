"""All tasks."""

from paredown.evaluators.tasks.arrays import ARRAYS
from paredown.evaluators.tasks.digits import DIGITS
from paredown.evaluators.tasks.image_folder import IMAGE_FOLDER
from paredown.evaluators.tasks.python import PYTHON
from paredown.evaluators.tasks.task import Loader

TASKS: dict[str, Loader] = {loader.name: loader for loader in (DIGITS, IMAGE_FOLDER, PYTHON, ARRAYS)}
