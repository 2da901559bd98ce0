"""How FHIR tells of errors: an OperationOutcome (R4) whatever went wrong, at every address of ``/fhir``."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute

from hilum.core.errors import HilumError, Unavailable

FHIR_JSON: Final = "application/fhir+json"
_CODES: Final = {
    400: "invalid", 404: "not-found", 405: "not-supported", 406: "not-supported", 409: "conflict", 410: "deleted",
    413: "too-long", 415: "not-supported", 422: "invalid", 503: "transient",
}  # fmt: skip
_WORDS: Final = {404: "There is nothing at this address.", 405: "This address does not take this method."}

log = structlog.get_logger()


class BadRequest(HilumError):
    """A request that is not one of FHIR."""

    status = 400
    title = "Bad request"


def outcome(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with an OperationOutcome of one issue."""
    issue = {"severity": "error", "code": _CODES.get(status, "exception"), "diagnostics": words}
    body = msgspec.json.encode({"resourceType": "OperationOutcome", "issue": [issue]})
    return Response(body, status, headers, FHIR_JSON)


class FhirRoute(APIRoute):
    """A route whose errors are OperationOutcomes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with what it raises told as FHIR does."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except HilumError as error:
                return outcome(
                    error.status, str(error), {"Retry-After": "2"} if isinstance(error, Unavailable) else None
                )
            except RequestValidationError as error:
                return outcome(400, "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()))
            except HTTPException as error:
                words = _WORDS.get(error.status_code, str(error.detail))
                return outcome(error.status_code, words, dict(error.headers or {}))
            except Exception:
                log.exception("fhir.failed", route=self.path)
                return outcome(500, "An unexpected error; the server's log tells where.")

        return handle
