"""The one error that only this room has: DICOMweb answers a request that it cannot parse with 400, where the REST API
says 422."""

from hilum.core.errors import HilumError


class BadRequest(HilumError):
    """The request is not one that PS3.18 describes."""

    status = 400
    title = "Bad request"
