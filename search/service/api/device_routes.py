"""Routes to devices: what is known of them, and the best model of a study for each."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query

from paredown.evaluators.devices.catalogue import device_ids, device_profile
from paredown.search.service.api.access import PROBLEMS, DeviceName, StudyName, needs
from paredown.search.service.api.documents import DeviceList, DeviceMatrix
from paredown.search.service.service import Service
from paredown.studies.access.tokens import Token

Reader = Annotated[Token, Depends(needs("read"))]
Limits = list[str] | None


def device_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", tags=["devices"], responses=PROBLEMS)

    @router.get("/devices")
    def list_devices(token: Reader) -> DeviceList:
        """List the devices that studies may be searched for, as `paredown device list --json` does."""
        del token
        return DeviceList(devices=[device_profile(name).to_json() for name in device_ids()])

    @router.get("/devices/{device}")
    def get_device(token: Reader, device: DeviceName) -> dict[str, Any]:
        """Show all that is known of a device, each number with its source, as `paredown device show --json` does."""
        del token
        if device not in device_ids():  # the catalogue also reads files
            raise HTTPException(404, f"device {device!r} does not exist; allowed: {', '.join(device_ids())}")
        return device_profile(device).to_json()

    @router.get("/studies/{study}/devices")
    def matrix(
        token: Reader,
        study: StudyName,
        largest: Annotated[Limits, Query(alias="max", examples=[["size_bytes=60k"]])] = None,
        smallest: Annotated[Limits, Query(alias="min", examples=[["accuracy=0.95"]])] = None,
    ) -> DeviceMatrix:
        """Choose the best model for each device, without training, as `paredown select --all-devices --json` does."""
        job = service.find(token, study)
        service.begun(job)
        given = [f"--{name}={one}" for name, texts in (("max", largest), ("min", smallest)) for one in texts or ()]
        found = json.loads(service.command("select", job.stored_name, "--all-devices", "--json", *given))
        return DeviceMatrix(study=study, devices=found["devices"])

    return router
