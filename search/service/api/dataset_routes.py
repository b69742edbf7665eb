"""Routes to data sets: upload, list, look, delete."""

import errno
import hashlib
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse

from paredown.search.service.api.access import PROBLEMS, DatasetName, Responses, needs
from paredown.search.service.api.documents import DatasetDocument, DatasetList, Problem
from paredown.search.service.datasets import DatasetConflict, Datasets
from paredown.search.service.held_upload import uploaded
from paredown.search.service.service import Service
from paredown.studies.access.tokens import Token

Reader = Annotated[Token, Depends(needs("read"))]
Submitter = Annotated[Token, Depends(needs("submit"))]
UNPACKED_AT_ONCE = 2
"""Number of uploads that are unpacked at the same time; others wait."""
PICTURE: Responses = {200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}}
UPLOADED: Responses = {
    200: {"model": DatasetDocument, "description": "The same zip file was uploaded before"},
    408: {"model": Problem, "description": "The zip file did not come"},
    413: {"model": Problem, "description": "The zip file is larger than the limit of the server"},
    507: {"model": Problem, "description": "The disk of the server is full"},
}
ZIP_FILE = {
    "required": True,
    "description": "A zip file of `train/CLASS/...`, `val/CLASS/...` and perhaps `test/CLASS/...`, with images alone",
    "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
}


def dataset_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1/datasets", tags=["data sets"], responses=PROBLEMS)
    datasets, unpacking = service.datasets, CapacityLimiter(UNPACKED_AT_ONCE)

    @router.get("")
    def list_datasets(token: Reader) -> DatasetList:
        """List your data sets; an administrator sees those of all owners."""
        found = [DatasetDocument(**one) for one in datasets.all(token)]
        return DatasetList(datasets=found, upload_limit_bytes=datasets.upload_limit)

    @router.put("/{dataset}", status_code=201, responses=UPLOADED, openapi_extra={"requestBody": ZIP_FILE})
    async def upload(token: Submitter, request: Request, response: Response, dataset: DatasetName) -> DatasetDocument:
        """Upload a folder of images as a zip file; studies name it as `image_folder: dataset:NAME`."""
        try:
            found, is_new = await _added(datasets, token.owner, dataset, request, unpacking)
        except ConnectionError as error:
            raise HTTPException(400, str(error)) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise HTTPException(507, "the disk of the server is full") from None
        response.status_code = 201 if is_new else 200
        return DatasetDocument(**found)

    @router.get("/{dataset}")
    def get_dataset(token: Reader, dataset: DatasetName) -> DatasetDocument:
        """Show a data set: images by class and split, as `paredown data check --json` does."""
        return DatasetDocument(**datasets.find(token, dataset))

    @router.get("/{dataset}/thumbnail", response_class=FileResponse, responses=PICTURE)
    def thumbnail(
        token: Reader,
        dataset: DatasetName,
        of_class: Annotated[str, Query(alias="class", description="Name of a class")],
        number: Annotated[int, Query(ge=0, le=1000, description="Which one, from 0")] = 0,
    ) -> FileResponse:
        """Show one of the training images as a PNG file."""
        file: Path = datasets.thumbnail(token, dataset, of_class, number)
        return FileResponse(file, media_type="image/png")

    @router.delete("/{dataset}", status_code=204)
    def delete(token: Submitter, dataset: DatasetName) -> None:
        """Delete a data set that no study names."""
        datasets.delete(token, dataset)

    return router


async def _added(
    datasets: Datasets, owner: str, name: str, request: Request, unpacking: CapacityLimiter
) -> tuple[dict[str, Any], bool]:
    """Write the body of a request to the disk and unpack it; see `Datasets.add`."""
    parts, digest = uploaded(request.scope, datasets.upload_limit), hashlib.sha256()
    try:
        with datasets.place(owner, name) as file:
            with file.open("wb") as opened:
                async for part in parts:
                    digest.update(part)
                    await run_sync(opened.write, part)
            return await run_sync(datasets.add, owner, name, file, digest.hexdigest(), limiter=unpacking)
    except DatasetConflict:
        async for _ in parts:  # a sender that is still busy would not hear the answer
            pass
        raise
